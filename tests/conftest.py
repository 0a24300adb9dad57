"""Options of the test command, how hypothesis runs, and where the running connectors come from."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import Cluster, run_cluster
from tests.running import Nursery, memory

# How long an example takes is the machine's affair. The examples are the same in every run, so that what failed fails
# again; `pytest --hypothesis-profile=default` looks for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, help="SIGKILLs of the server (default 50) and of the engine (default 300)")
    parser.addoption("--seed", default=1, type=int, help="of what tests/chaos does at random (default 1)")


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: at any time some test waits for a process, a lease or a disk."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    # A background job of a shell, as which some runners start the tests, ignores SIGINT, and so do its children: but
    # some tests interrupt one as Ctrl-C does.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Before any temporary folder is made: then workers and programs take it over.
    if not hasattr(config, "workerinput") and "TMPDIR" not in os.environ and (fast := memory()) is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(fast))  # outlives the run, for what failed
        folder = tempfile.mkdtemp(prefix="tests-", dir=fast)
        os.chmod(folder, 0o755)  # PostgreSQL runs as another user
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(autouse=True)
def _a_log_ends_with_its_test() -> Iterator[None]:
    """A command that runs inside a test sets up the log, to a stream that is closed when the test ends."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    yield from run_cluster()
