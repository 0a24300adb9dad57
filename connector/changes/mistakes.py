"""What is wrong with a mapping file, as the store keeps it; apart from versions.py, which imports what delivers."""

from __future__ import annotations

import msgspec

from connector.core.errors import Problem
from connector.store.model import StoredMapping


def problems_of(stored: StoredMapping | None) -> tuple[Problem, ...]:
    """What is wrong with the route's mapping file, as it was last looked at."""
    return msgspec.json.decode(stored.mistake, type=tuple[Problem, ...]) if stored and stored.mistake else ()


def dumped(problems: tuple[Problem, ...]) -> str:
    """What ``problems_of`` reads."""
    return msgspec.json.encode(problems).decode() if problems else ""
