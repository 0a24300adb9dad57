"""The event that `connector sample` sends; the affiliate in it is invented."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def sample_event(now: datetime) -> tuple[str | None, dict[str, Any]]:
    """The topic to put into the URL (None: the URL needs none), and a body that is new at *now*."""
    return None, {
        "type": "partner.updated",
        "timestamp": now.isoformat(),
        "data": {
            "id": "part_SAMPLE000000000000000005",
            "first_name": "Alan",
            "last_name": "Sample",
            "company_name": "Sample Ciphers Ltd",
            "email": "alan.sample@example.com",
            "country_code": "GB",
            "website_url": "https://ciphers.example.com",
            "status": "active",
            "created_at": "2026-01-15T09:30:00.000Z",
            "custom_fields": [{"question": "Where will you promote us?", "answer": "In a newsletter"}],
        },
    }
