"""The event that `connector sample` sends; the affiliate in it is invented."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def sample_event(now: datetime) -> tuple[str | None, dict[str, Any]]:
    """The topic to put into the URL (None: the URL needs none), and a body that is new at *now*."""
    return None, {
        "object": {
            "id": "5a3b1c00-0000-4000-8000-000000000003",
            "first_name": "Grace",
            "last_name": "Sample",
            "email": "grace.sample@example.com",
            "state": "active",
            "created_at": "2026-01-15T09:30:00.000Z",
            "visitors": 210,
            "leads": 12,
            "conversions": 4,
            "campaign": {"id": "5a3b1c00-0000-4000-8000-0000000000c1", "name": "Sample campaign"},
            "links": [
                {
                    "id": "5a3b1c00-0000-4000-8000-0000000000a1",
                    "url": "https://shop.example.com/?via=grace",
                    "token": "grace",
                    "visitors": 210,
                    "leads": 12,
                    "conversions": 4,
                }
            ],
        },
        "event": {
            "id": f"sample-{int(now.timestamp() * 1000)}",
            "type": "affiliate.updated",
            "created_at": now.isoformat(),
            "api_version": "v1",
        },
    }
