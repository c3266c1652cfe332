"""What must not be imported: heavy libraries by `import metafunc`, and torch by a command line that only answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PARTS = [
    "algorithms", "curvature", "data", "ensemble", "figures", "implicit", "inner",
    "likelihood", "metrics", "nn", "objectives", "optim", "tree", "types",
]  # fmt: skip
"""What one import of the package reaches."""
QUICK = 4.0
"""What help may take, in units of what importing the command line's libraries takes: seconds of a shared machine are no
measure. It takes 2.5; with torch it would take more than five."""


def modules_after(code: str) -> set[str]:
    answer = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n' + ' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(answer.stdout.splitlines()[-1].split())


def test_metafunc_imports_no_heavy_library() -> None:
    loaded = modules_after(f"import metafunc\nfor part in {PARTS}: getattr(metafunc, part)")
    assert "torch" in loaded
    assert not loaded & {
        "datasets",
        "matplotlib",
        "rich",
        "tyro",
        "pandas",
        "PIL",
        "pyarrow",
        "sklearn",
        "scipy",
        "botorch",
    }


COMPILER = {"torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy"}
"""What torch imports by itself: at the first gradient, and as soon as an optimiser is made."""
HEAVY = COMPILER | {"datasets", "matplotlib", "pandas", "PIL", "pyarrow", "scipy", "sklearn"}
"""What the first steps of a training have no use for."""
TRAIN = "train maml sinusoid --steps 2 --test-tasks 0 --out run --quiet"
EVAL = "eval run --num-tasks 2 --quiet"


def after(*lines: str, before: str = "") -> set[str]:
    runs = [f"assert run({line.split()!r}) == 0" for line in lines]
    return modules_after("\n".join([before, "from metafunc_cli.__main__ import run", *runs]))


def test_first_steps_a_checkpoint_and_a_meta_test_import_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not after(TRAIN) & HEAVY
    assert not after(EVAL) & COMPILER
    # The wrong twin: torch as it is.
    twin = "from metafunc.execution import deferred_compiler\ndeferred_compiler.COMPILER = 'torch'"
    assert after(EVAL, before=twin) >= COMPILER - {"torch._inductor"}


def test_only_the_estimators_import_scikit_learn() -> None:
    assert "sklearn" in modules_after("import metafunc.sklearn")
    assert "sklearn" not in modules_after("import metafunc.training.config, metafunc.results.predict_files")


def test_without_scikit_learn_one_line_says_what_to_install() -> None:
    without = "import sys; sys.modules['sklearn'] = None\nimport metafunc.sklearn"
    answer = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    last = answer.stderr.splitlines()[-1]
    assert last == "ModuleNotFoundError: metafunc.sklearn needs scikit-learn: pip install 'metafunc[sklearn]'"
    assert answer.stderr.count("Traceback") == 1


def test_without_botorch_one_line_says_what_to_install() -> None:
    without = "import sys; sys.modules['botorch'] = None\nimport metafunc.botorch"
    answer = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    last = answer.stderr.splitlines()[-1]
    assert last == "ModuleNotFoundError: metafunc.botorch needs botorch: pip install 'metafunc[botorch]'"


@pytest.mark.parametrize(
    "line",
    ["--help", "--version", "list", "list runs --json", "completion bash", "__complete train --",
     "train --help", "train maml glyphs --help", "eval --help", "plot --help",
     "predict --help", "predict --support a", "nonsense",
     "train nonsense", "train --steps x", "train --resume nowhere", "eval nowhere"],
)  # fmt: skip
def test_an_answer_imports_no_torch(line: str) -> None:
    code = (
        "from metafunc_cli.__main__ import run\n"
        f"try: run({line.split()!r})\n"
        "except SystemExit: pass"
    )  # fmt: skip
    assert not modules_after(code) & {"torch", "matplotlib", "datasets"}


@pytest.mark.parametrize("line", ["--help", "train --help", "list", "__complete train --", "train nonsense"])
def test_an_answer_takes_little_more_than_the_import_of_its_libraries(line: str) -> None:
    unit = processor_time("-c", "import tyro, rich.progress")
    assert processor_time("-m", "metafunc_cli", *line.split()) < QUICK * unit


def test_torch_would_be_seen() -> None:
    unit = processor_time("-c", "import tyro, rich.progress")
    assert processor_time("-c", "import tyro, rich.progress, torch") > QUICK * unit


def processor_time(*arguments: str) -> float:
    """The seconds that an interpreter works, of whatever else the machine does."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system
