"""What the tests here share: the seed, and the tracer of disk changes, built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import disk_trace
from tests.chaos.engine import scratch


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--seed"))


@pytest.fixture(scope="session")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Path | str:
    """The tracer's library, or why there is none."""
    return disk_trace.build(tmp_path_factory.mktemp("tracer"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is fast, for what does not ask for a real disk."""
    with scratch() as found:
        yield found
