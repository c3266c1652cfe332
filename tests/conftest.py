"""What all tests share. It must not import metafunc: the annotation hook has to be installed before that."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every run and machine; no limits of time, because a shared machine stalls.
PATIENT = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("gate", derandomize=True, max_examples=25, **PATIENT)
settings.register_profile("nightly", max_examples=300, **PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


@pytest.fixture(scope="session")
def ran() -> Callable[..., Any]:
    """What a program that forks ranks prints as JSON: from the program, its folder, and the names of its cases."""

    def found(program: Path, folder: Path, *cases: str) -> Any:
        process = subprocess.run(
            [sys.executable, str(program), str(folder), *cases],
            capture_output=True,
            text=True,
            timeout=550,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout)

    return found


@pytest.fixture(scope="session")
def omniglot_path() -> Path:
    """The folder with Omniglot's parquet files, named by METAFUNC_TEST_DATA."""
    root = os.environ.get("METAFUNC_TEST_DATA")
    folder = Path(root or "") / "omniglot"
    if root and folder.is_dir():
        return folder
    if os.environ.get("METAFUNC_REQUIRE_DATA"):
        pytest.fail(f"METAFUNC_TEST_DATA={root!r} has no folder omniglot, and METAFUNC_REQUIRE_DATA asks for it.")
    pytest.skip("needs Omniglot: METAFUNC_TEST_DATA names a folder that holds omniglot/*.parquet")
