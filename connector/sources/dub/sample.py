"""The event that `connector sample` sends; the affiliate in it is invented."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def sample_event(now: datetime) -> tuple[str | None, dict[str, Any]]:
    """The topic to put into the URL (None: the URL needs none), and a body that is new at *now*."""
    return None, {
        "id": f"evt_sample{int(now.timestamp() * 1000)}",
        "event": "partner.enrolled",
        "createdAt": now.isoformat(),
        "data": {
            "id": "pn_SAMPLE0000000000000000004",
            "partnerId": "pn_SAMPLE0000000000000000004",
            "programId": "prog_SAMPLE",
            "name": "Hedy Sample",
            "email": "hedy.sample@example.com",
            "companyName": "Sample Signals Ltd",
            "country": "AT",
            "status": "approved",
            "createdAt": "2026-01-15T09:30:00.000Z",
            "website": "https://signals.example.com",
            "totalClicks": 90,
            "totalLeads": 9,
            "totalConversions": 3,
            "totalSales": 4,
            "totalSaleAmount": 39900,
            "totalCommissions": 7980,
            "links": [
                {
                    "id": "link_SAMPLE4",
                    "domain": "go.example.com",
                    "key": "hedy",
                    "shortLink": "https://go.example.com/hedy",
                    "url": "https://shop.example.com",
                    "clicks": 90,
                    "leads": 9,
                    "conversions": 3,
                    "sales": 4,
                    "saleAmount": 39900,
                }
            ],
        },
    }
