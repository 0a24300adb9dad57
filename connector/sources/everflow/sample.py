"""The event that `connector sample` sends; the affiliate in it is invented."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def sample_event(now: datetime) -> tuple[str | None, dict[str, Any]]:
    """The topic to put into the URL (None: the URL needs none), and a body that is new at *now*."""
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
