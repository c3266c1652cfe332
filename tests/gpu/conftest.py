"""Where these tests run: on a CUDA device, or on what METAFUNC_TEST_DEVICE says, `cpu` to try the tests themselves."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device; without one a test is skipped, or fails where METAFUNC_REQUIRE_GPU asks for it."""
    from metafunc.execution.device import device_of

    name = os.environ.get("METAFUNC_TEST_DEVICE", "cuda")
    try:
        return device_of(name)
    except ValueError as error:
        if os.environ.get("METAFUNC_REQUIRE_GPU"):
            pytest.fail(f"METAFUNC_REQUIRE_GPU asks for a GPU. {error}")
        pytest.skip(f"needs a GPU; METAFUNC_TEST_DEVICE=cpu tries the test itself: {error}")


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Float32 is float32: torch rounds the inputs of convolutions to TF32 on a GPU unless that is turned off."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
