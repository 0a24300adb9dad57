"""The event that `connector sample` sends; the affiliate in it is invented."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def sample_event(_now: datetime) -> tuple[str | None, dict[str, Any]]:
    """The topic to put into the URL, and a body; each arrival is an event of its own."""
    return "affiliate.approved", {
        "id": 990000006,
        "email": "rosalind.sample@example.com",
        "first_name": "Rosalind",
        "last_name": "Sample",
        "status": "active",
        "company": "Sample Crystals",
        "country": "United Kingdom",
        "created_at": "2026-01-15T09:30:00Z",
        "default_affiliate_link": "https://shop.example.com/?sca_ref=990000006.sample",
        "program_id": 990601,
        "program_name": "Sample program",
        "coupons": [{"id": 990602, "affiliate_id": 990000006, "coupon": "ROSALIND10"}],
        "paid_amount": "85.00",
        "approved_amount": "40.50",
    }
