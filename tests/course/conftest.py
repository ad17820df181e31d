"""What the tests of the course share."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_warm_process_is_left() -> Iterator[None]:
    """Tests that grade in this process start warm processes in it. None outlives its file."""
    yield
    sandbox = sys.modules.get("tinyldm_course.grading.sandbox")
    if sandbox is not None:
        sandbox.WITH_TORCH.close()
        sandbox.WITHOUT_TORCH.close()
