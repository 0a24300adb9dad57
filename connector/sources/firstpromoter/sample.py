"""The event that `connector sample` sends; the affiliate in it is invented."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def sample_event(now: datetime) -> tuple[str | None, dict[str, Any]]:
    """The topic to put into the URL (None: the URL needs none), and a body that is new at *now*."""
    return None, {
        "event": {"id": int(now.timestamp() * 1000), "type": "promoter_signed_up", "created_at": now.isoformat()},
        "data": {
            "promoter": {
                "id": 990000001,
                "cust_id": "sample-1",
                "email": "ada.sample@example.com",
                "created_at": "2026-01-15T09:30:00.000Z",
                "status": "active",
                "default_ref_id": "ada-sample",
                "earnings_balance": {"cash": 12550},
                "current_balance": {"cash": 4050},
                "paid_balance": {"cash": 8500},
                "profile": {
                    "first_name": "Ada",
                    "last_name": "Sample",
                    "company_name": "Sample Engines Ltd",
                    "website": "https://engines.example.com",
                    "country": "GB",
                    "description": "A sample affiliate, sent by `connector sample`.",
                },
            },
            "promotions": [
                {
                    "id": 990000101,
                    "status": "offer_running",
                    "ref_id": "ada-sample",
                    "promo_code": "ADA10",
                    "campaign_id": 990001,
                    "campaign_name": "Sample campaign",
                    "referral_link": "https://shop.example.com/?fpr=ada-sample",
                    "visitors_count": 120,
                    "leads_count": 14,
                    "customers_count": 3,
                    "sales_count": 5,
                    "sales_total": 49900,
                }
            ],
        },
    }
