"""The event that `connector sample` sends; the affiliate in it is invented."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def sample_event(_now: datetime) -> tuple[str | None, dict[str, Any]]:
    """The topic to put into the URL (None: the URL needs none), and a body; each arrival is an event of its own."""
    return None, {
        "id": 990000007,
        "partner_key": "katherinesample",
        "first_name": "Katherine",
        "last_name": "Sample",
        "email": "katherine.sample@example.com",
        "group": {"id": 990701, "name": "Sample group", "slug": "samplegroup"},
        "archived": "false",
        "event": "partnership_updated",
    }
