"""Webhook bodies of real shape and size (2.5 KB), written by us, with a number in place of every key."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

_event = {
    "event": {"id": 700000001, "type": "reward_created", "created_at": "@at"},
    "data": {
        "id": 700000002,
        "status": "approved",
        "amount": 1250,
        "unit": "cash",
        "created_at": "2026-05-04T10:20:29.995Z",
        "event_id": "sale_700000001",
        "conversion_amount": 6250,
        "tier_level": 1,
        "split_type": None,
        "lead": {
            "id": 700000003,
            "state": "active",
            "email": "buyer700000001@example.com",
            "uid": "",
            "customer_since": "2026-05-04T10:20:29.995Z",
            "cancelled_at": None,
            "plan_name": None,
            "suspicion": "no_suspicion",
            "created_at": "2026-05-04T09:15:02.001Z",
            "split_promotion_id": None,
            "custom_fields": None,
            "split_percentage_value": None,
            "visitor_sub_id": None,
        },
        "promoter": {
            "id": 800000001,
            "status": "active",
            "cust_id": "",
            "email": "partner800000001@example.com",
            "created_at": "2025-11-03T08:33:55.055Z",
            "temp_password": None,
            "default_promotion_id": 800000002,
            "pref": "wq81szd",
            "default_ref_id": "ref800000001",
            "note": None,
            "w8_form_url": None,
            "w9_form_url": None,
            "parent_promoter_id": None,
            "earnings_balance": {"cash": 700000001},
            "current_balance": {"cash": 700000001},
            "paid_balance": None,
            "auth_token": "planted-700000001-planted-secret",
            "profile": {
                "id": 800000003,
                "first_name": "Grace",
                "last_name": "Partner 800000001",
                "website": "https://partner800000001.example.com",
                "company_name": "Compilers and Partners",
                "phone_number": "",
                "address": "",
                "vat_id": "",
                "country": "GB",
                "paypal_email": None,
                "avatar_url": "",
                "description": None,
                "social_accounts": {
                    "twitter": {"url": ""},
                    "youtube": {"url": ""},
                    "facebook": {"url": ""},
                    "linkedin": {"url": ""},
                    "instagram": {"url": ""},
                },
            },
            "promotions": [],
        },
        "promotion": {
            "id": 800000002,
            "status": "offer_running",
            "ref_id": "ref800000001",
            "promo_code": None,
            "customer_promo_code": None,
            "target_reached_at": None,
            "promoter_id": 800000001,
            "campaign_id": 4711,
            "referral_link": "https://shop.example.com?via=ref800000001",
            "current_offer": {
                "id": 5101,
                "name": "10% for the first year",
                "amount": 10,
                "unit": "discount_per",
                "default_promo_code": "YEAR-10",
            },
            "current_referral_reward": {
                "id": 5102,
                "amount": 0,
                "type": "per_referral",
                "unit": "cash",
                "name": "20% of each payment",
                "per_of_sale": 20,
                "default_promo_code": "",
            },
            "current_promotion_reward": None,
            "current_target_reward": None,
            "campaign_name": "Main programme",
            "hidden": False,
            "visitors_count": 51,
            "leads_count": 13,
            "customers_count": 7,
            "refunds_count": 0,
            "cancellations_count": 1,
            "sales_count": 700000001,
            "sales_total": 6250,
            "refunds_total": 0,
            "active_customers_count": 6,
        },
    },
}

_text = json.dumps(_event, separators=(",", ":")).encode()
_marked = _text.replace(b"80000000", b"\x0080000000").replace(b"70000000", b"\x0170000000").replace(b"@at", b"\x02@at")
_began = datetime(2026, 5, 4, tzinfo=UTC)


def _compile(text: bytes) -> list[bytes | int]:
    """The text cut at what varies: 7 stands for the event's number, 8 for the affiliate's, 9 for the event's time."""
    pieces: list[bytes | int] = []
    rest = text
    while cuts := [at for at in (rest.find(mark) for mark in (b"\x00", b"\x01", b"\x02")) if at >= 0]:
        at = min(cuts)
        mark = rest[at]
        if mark == 2:
            pieces += [rest[:at], 9]
            rest = rest[at + 4 :]
        else:
            pieces += [rest[:at], 8 if mark == 0 else 7, rest[at + 9 : at + 10]]
            rest = rest[at + 10 :]
    return [*pieces, rest]


_pieces = _compile(_marked)
_plain = [piece if isinstance(piece, bytes) else b"" for piece in _pieces]
_at = {mark: [at for at, piece in enumerate(_pieces) if piece == mark] for mark in (7, 8, 9)}


def promoter_event(number: int, affiliates: int = 20_000, *, about: int | None = None) -> bytes:
    """The body of event *number* (its key), a millisecond later than the one before.

    Args:
        about: the affiliate's number; None: one of *affiliates* after the other.
    """
    pieces = _plain.copy()
    event = b"7%07d" % (number % 10_000_000)
    affiliate = b"8%07d" % (number % affiliates if about is None else about)
    moment = (_began + timedelta(milliseconds=number)).isoformat(timespec="milliseconds").encode()
    for mark, text in ((7, event), (8, affiliate), (9, moment)):
        for at in _at[mark]:
            pieces[at] = text
    return b"".join(pieces)
