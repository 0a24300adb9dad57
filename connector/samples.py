"""Sample events, written by us, that `connector sample` sends to a running server. By type of source.

A plug-in from elsewhere offers its own: ``def sample(now) -> (topic, body)`` on its class.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

Sample = tuple[str | None, dict[str, Any]]
"""The topic to put into the URL (None: the URL needs none), and the body."""


def sample_for(type_name: str, source_class: object, now: datetime) -> Sample | None:
    """A fresh event about one sample affiliate, or None when nobody wrote one for that type."""
    make: Callable[[datetime], Sample] | None = getattr(source_class, "sample", None) or _samples.get(type_name)
    return None if make is None else make(now)


def _firstpromoter(now: datetime) -> Sample:
    return None, {
        "event": {"id": _number(now), "type": "promoter_signed_up", "created_at": now.isoformat()},
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


def _everflow(now: datetime) -> Sample:
    return "partner_created", {
        "network_affiliate_id": 990000002,
        "network_id": 1,
        "name": "Sample Looms GmbH",
        "account_status": "active",
        "default_currency_id": "EUR",
        "time_created": 1768469400,
        "time_saved": int(now.timestamp()),
        "relationship": {
            "labels": {"total": 1, "label_entry_list": ["sample"]},
            "users": {
                "total": 1,
                "user_entities": [
                    {
                        "network_affiliate_user_id": 990000021,
                        "first_name": "Joseph",
                        "last_name": "Sample",
                        "email": "joseph.sample@example.com",
                        "title": "Owner",
                        "account_status": "active",
                    }
                ],
            },
            "contact_address": {
                "address_line_1": "Musterweg 1",
                "city": "Köln",
                "postal_code": "50667",
                "country_code": "DE",
            },
        },
    }


def _number(now: datetime) -> int:
    return int(now.timestamp() * 1000)


_samples: dict[str, Callable[[datetime], Sample]] = {"firstpromoter": _firstpromoter, "everflow": _everflow}
