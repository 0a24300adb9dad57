"""The platforms' APIs as far as they list affiliates, on the loopback.

Written from the vendors' published references (docs.firstpromoter.com/api-reference-v1|v2, developers.everflow.io,
developers.rewardful.com, dub.co/docs, docs.tolt.com, aff-api.uppromote.com; read 2026-11), with values of our own.
Lists are computed when they are asked for, so that affiliates may be added, changed and deleted while somebody reads.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.far_sides.loopback import Call, FarSide, Reply

KEY = "api-k3y-of-the-tests-5Rw8"
ACCOUNT = "acc-77"

Row = dict[str, Any]


class Platform(FarSide):
    """What they have in common: affiliates by id in the order of the list, a key, pages by number and size.

    Attributes:
        most_rows: the server's own limit to a page.
        before_page: called with the number of the list's call (from 1) before it is answered: the list may move.
        reads: how often each page was asked for, by (page, size).
    """

    page_name, size_name = "page", "per_page"
    concurrent = False

    def __init__(self, count: int = 0) -> None:
        super().__init__()
        self.rows: dict[int, Row] = {}
        self.most_rows = 10_000
        self.before_page: Callable[[int], None] = lambda number: None
        self.reads: Counter[tuple[int, int]] = Counter()
        self.pages = 0
        for number in range(1, count + 1):
            self.add(number)

    def add(self, number: int, **changes: Any) -> Row:
        """One more affiliate, at the end of the list."""
        self.rows[number] = self.row(number) | changes
        return self.rows[number]

    def row(self, number: int) -> Row:
        raise NotImplementedError

    def allowed(self, call: Call) -> bool:
        raise NotImplementedError

    def page_of(self, call: Call, rows: list[Row]) -> list[Row]:
        """The rows of the page that *call* asks for."""
        page = int(call.query[self.page_name][0])
        size = int(call.query[self.size_name][0])
        self.reads[page, size] += 1
        size = min(size, self.most_rows)
        return rows[(page - 1) * size : page * size]

    def moved(self) -> None:
        self.pages += 1
        self.before_page(self.pages)


def promoter_v1(number: int) -> Row:
    """The webhook's promoter object, with what must never be stored."""
    return {
        "id": number, "status": "active", "cust_id": f"cus_{number}", "email": f"p{number}@example.com",
        "created_at": "2025-05-05T05:05:05.005Z", "temp_password": "CANARY-password", "default_promotion_id": None,
        "default_ref_id": f"ref{number}", "note": None, "w8_form_url": "CANARY-w8", "w9_form_url": None,
        "parent_promoter_id": None, "earnings_balance": {"cash": 1000 + number}, "current_balance": None,
        "paid_balance": None, "auth_token": "CANARY-token",
        "profile": {
            "id": number, "first_name": "Ada", "last_name": f"No {number}", "website": "", "company_name": None,
            "country": "GB", "social_accounts": {},
        },
        "promotions": [
            {
                "id": 1_000_000 + number, "status": "offer_running", "ref_id": f"ref{number}", "promo_code": None,
                "promoter_id": number, "campaign_id": 5, "campaign_name": "Main", "visitors_count": 9,
                "referral_link": f"https://shop.example?r=ref{number}", "leads_count": 4, "customers_count": 3,
                "sales_count": 3, "sales_total": 201000, "refunds_total": 0,
            }
        ],
    }  # fmt: skip


def promoter_v2(number: int) -> Row:
    return {
        "id": number, "email": f"p{number}@example.com", "name": f"Ada No {number}", "cust_id": f"cus_{number}",
        "stats": {
            "clicks_count": 90, "referrals_count": 4, "sales_count": 3, "customers_count": 2,
            "active_customers_count": 1, "revenue_amount": 201000,
        },
        "profile": {
            "id": number, "first_name": "Ada", "last_name": f"No {number}", "website": "https://a.example",
            "company_name": "Engines", "instagram_url": "https://insta.example/ada", "country": "GB",
            "w8_form_url": "CANARY-w8",
        },
        "joined_at": "2025-05-05T05:05:05Z", "archived_at": None, "custom_fields": {"shirt": "L"},
        "password_setup_url": "CANARY-setup",
        "promoter_campaigns": [
            {
                "campaign_id": 5, "state": "accepted", "campaign": {"id": 5, "name": "Main"}, "coupon": "ADA10",
                "ref_token": f"ref{number}", "ref_link": f"https://shop.example?r=ref{number}",
            }
        ],
        "balances": {"cash": 1000 + number, "credits": 0, "points": 5, "free_months": 0},
    }  # fmt: skip


class FirstPromoterV1(Platform):
    """``base_url`` is ``server.url``."""

    def row(self, number: int) -> Row:
        return promoter_v1(number)

    def allowed(self, call: Call) -> bool:
        return call.headers.get("x-api-key") == KEY

    def answer(self, call: Call) -> Reply:
        if not self.allowed(call):
            return Reply(401, {"error": "Invalid API key"})
        if call.path == "/promoters/list":
            self.moved()
            return Reply(200, self.page_of(call, list(self.rows.values())))
        if call.path == "/promoters/show":
            row = self.rows.get(int(call.query["id"][0]))
            return Reply(404, {"error": "not found"}) if row is None else Reply(200, row)
        return Reply(404)


class FirstPromoterV2(Platform):
    """Promoters, and webhook subscriptions with their deliveries (the newest first).

    Attributes:
        hooks: the deliveries by the subscription's id.
    """

    def __init__(self, count: int = 0) -> None:
        self.hooks: dict[int, list[Row]] = {}
        super().__init__(count)

    def row(self, number: int) -> Row:
        return promoter_v2(number)

    def allowed(self, call: Call) -> bool:
        return call.headers.get("authorization") == f"Bearer {KEY}" and call.headers.get("account-id") == ACCOUNT

    def answer(self, call: Call) -> Reply:
        if not self.allowed(call):
            return Reply(401, {"message": "Unauthorized"})
        if call.path == "/promoters":
            self.moved()
            rows = [row for row in self.rows.values() if not row["archived_at"]]
            for since in call.query.get("filters[joined_at][from]", ()):
                rows = [row for row in rows if row["joined_at"] >= since]
            return Reply(200, {"data": self.page_of(call, rows), "meta": {"pending_count": 1}})
        if call.path == "/webhooks":
            return Reply(200, self.page_of(call, [{"id": number, "active": True} for number in self.hooks]))
        if found := re.fullmatch(r"/webhooks/(\d+)/webhook_deliveries", call.path):
            return Reply(200, self.page_of(call, self.hooks[int(found[1])]))
        if found := re.fullmatch(r"/promoters/(\d+)", call.path):
            row = self.rows.get(int(found[1]))
            return Reply(404, {"message": "not found"}) if row is None else Reply(200, row)
        return Reply(404)


class Everflow(Platform):
    """``bare``: the newer documentation's envelope; else with ``paging``."""

    size_name = "page_size"

    def __init__(self, count: int = 0, *, bare: bool = False) -> None:
        self.bare = bare
        super().__init__(count)

    def row(self, number: int) -> Row:
        return {
            "network_affiliate_id": number, "network_id": 1, "name": f"Engines {number}", "account_status": "active",
            "internal_notes": "PRIVATE", "default_currency_id": "EUR", "time_created": 1_735_000_000,
            "time_saved": 1_736_000_000 + number, "labels": ["gold"],
            "relationship": {
                "users": {
                    "total": 1,
                    "entries": [
                        {
                            "network_affiliate_user_id": 1_000_000 + number, "first_name": "Ada", "last_name": "King",
                            "email": f"p{number}@example.com", "account_status": "active", "time_saved": 1_736_000_000,
                        }
                    ],
                },
                "signup": {"website_url": "https://a.example", "user_ip": "CANARY-ip", "tax_id": "CANARY-tax"},
            },
        }  # fmt: skip

    def allowed(self, call: Call) -> bool:
        return call.headers.get("x-eflow-api-key") == KEY

    def answer(self, call: Call) -> Reply:
        if not self.allowed(call):
            return Reply(401, {"Error": "unauthorized"})
        if call.path == "/networks/affiliates":
            assert call.query["relationship"] == ["users", "signup"]
            self.moved()
            rows = list(self.rows.values())
            for condition in call.query.get("filter", ()):
                edge = int(condition.removeprefix("time_saved>"))
                rows = [row for row in rows if row["time_saved"] > edge]
            page = self.page_of(call, rows)
            if self.bare:
                return Reply(200, page)
            paging = {"page": int(call.query["page"][0]), "page_size": len(page), "total_count": len(rows)}
            return Reply(200, {"affiliates": page, "paging": paging})
        if found := re.fullmatch(r"/networks/affiliates/(\d+)", call.path):
            row = self.rows.get(int(found[1]))
            return Reply(404) if row is None else Reply(200, row)
        return Reply(404)


class Rewardful(Platform):
    size_name = "limit"

    def row(self, number: int) -> Row:
        return {
            "id": f"aff-{number}", "first_name": "Ada", "last_name": f"No {number}", "email": f"p{number}@example.com",
            "state": "active", "created_at": "2025-05-05T05:05:05.005Z", "visitors": 9, "leads": 4, "conversions": 3,
            "paypal_email": "CANARY-paypal", "campaign": {"id": "c-1", "name": "Main"},
            "links": [{"id": f"l-{number}", "url": f"https://shop.example/?via={number}", "token": str(number)}],
        }  # fmt: skip

    def allowed(self, call: Call) -> bool:
        return call.headers.get("authorization") == "Basic " + b64encode(f"{KEY}:".encode()).decode()

    def answer(self, call: Call) -> Reply:
        if not self.allowed(call):
            return Reply(401, {"error": "Invalid API Secret."})
        assert call.query["expand[]"] == ["campaign", "links"]
        if call.path == "/affiliates":
            self.moved()
            assert int(call.query["limit"][0]) <= 100
            page = self.page_of(call, list(self.rows.values()))
            return Reply(200, {"pagination": {"total_count": len(self.rows)}, "data": page})
        if found := re.fullmatch(r"/affiliates/aff-(\d+)", call.path):
            row = self.rows.get(int(found[1]))
            return Reply(404, {"error": "Affiliate not found"}) if row is None else Reply(200, row)
        return Reply(404)


class Dub(Platform):
    size_name = "pageSize"

    def row(self, number: int) -> Row:
        return {
            "id": f"pn_{number}", "name": f"Ada No {number}", "email": f"p{number}@example.com", "status": "approved",
            "createdAt": "2025-05-05T05:05:05.005Z", "paypalEmail": "CANARY-paypal", "totalClicks": 9,
            "links": [{"id": f"link_{number}", "key": str(number), "shortLink": f"https://go.example/{number}"}],
        }  # fmt: skip

    def allowed(self, call: Call) -> bool:
        return call.headers.get("authorization") == f"Bearer {KEY}"

    def answer(self, call: Call) -> Reply:
        if not self.allowed(call):
            return Reply(401, {"error": {"code": "unauthorized"}})
        if call.path == "/partners":
            self.moved()
            assert (call.query["sortBy"], call.query["sortOrder"]) == (["createdAt"], ["asc"])
            return Reply(200, self.page_of(call, list(self.rows.values())))
        return Reply(404)


class Tolt(Platform):
    """Lists by an opaque cursor. ``links`` and ``codes`` are rows of the other two lists."""

    def __init__(self, count: int = 0) -> None:
        self.links: list[Row] = []
        self.codes: list[Row] = []
        super().__init__(count)

    def row(self, number: int) -> Row:
        self.links.append({"id": f"lnk_{number}", "value": f"via{number}", "partner_id": f"part_{number}"})
        self.codes.append({"id": f"pc_{number}", "code": f"CODE{number}", "active": True, "partner_id": None})
        return {
            "id": f"part_{number}", "first_name": "Ada", "last_name": f"No {number}", "status": "active",
            "email": f"p{number}@example.com", "payout_details": {"email": "CANARY-payout"},
            "created_at": "2025-05-05T05:05:05.005Z", "updated_at": "2025-05-05T05:05:05.005Z",
        }  # fmt: skip

    def allowed(self, call: Call) -> bool:
        return call.headers.get("authorization") == f"Bearer {KEY}"

    def answer(self, call: Call) -> Reply:
        if not self.allowed(call):
            return Reply(401, {"success": False})
        lists = {"/partners": list(self.rows.values()), "/links": self.links, "/promotion-codes": self.codes}
        if call.path not in lists:
            return Reply(404)
        self.moved()
        rows = lists[call.path]
        for since in call.query.get("updated_after", ()):
            rows = [row for row in rows if row["updated_at"] > since]
        start = int(call.query.get("starting_after", ["cursor-0"])[0].removeprefix("cursor-"))
        end = start + min(int(call.query["limit"][0]), self.most_rows)
        more = end < len(rows)
        body = {"success": True, "data": rows[start:end], "has_more": more, "next_cursor": f"cursor-{end}"}
        return Reply(200, body)


class UpPromote(Platform):
    """``subscriptions`` are the events and URLs that webhooks were made for; so many as ``most_subscriptions``."""

    def __init__(self, count: int = 0) -> None:
        self.subscriptions: list[tuple[str, str]] = []
        self.most_subscriptions = 100
        super().__init__(count)

    def row(self, number: int) -> Row:
        return {
            "id": number, "first_name": "Ada", "last_name": f"No {number}", "status": "active",
            "email": f"p{number}@example.com", "vat_number": "CANARY-vat", "created_at": "2025-05-05T05:05:05Z",
            "default_affiliate_link": f"https://shop.example/?sca_ref={number}", "paid_amount": "12.50",
        }  # fmt: skip

    def allowed(self, call: Call) -> bool:
        return call.headers.get("authorization") == KEY

    def answer(self, call: Call) -> Reply:
        if not self.allowed(call):
            return Reply(401, {"status": 401})
        if call.path == "/webhook-subscriptions" and call.method == "POST":
            if len(self.subscriptions) >= self.most_subscriptions:
                return Reply(422, {"status": 422, "message": "no"})
            asked = json.loads(call.body)
            self.subscriptions.append((asked["event"], asked["target_url"]))
            return Reply(
                201, {"status": 200, "data": {"id": len(self.subscriptions), "secret_key": "s3cret-of-the-shop"}}
            )
        if call.path != "/affiliates":
            return Reply(404)
        self.moved()
        rows = list(self.rows.values())
        for since in call.query.get("from_date", ()):
            rows = [row for row in rows if row["created_at"] >= since]
        return Reply(200, {"status": 200, "message": "Success", "data": self.page_of(call, rows)})
