"""Options of the test command."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, help="SIGKILLs of the server (default 50) and of the engine (default 300)")
    parser.addoption("--seed", default=1, type=int, help="of what tests/chaos does at random (default 1)")
