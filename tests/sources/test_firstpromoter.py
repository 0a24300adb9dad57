"""FirstPromoter: v1 under both names, in full, short and of 2017; v2 as far as it is published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from typing import Any
from zlib import crc32

import pytest

from connector.core.errors import UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.source import Source
from connector.sources.firstpromoter.webhooks import FirstPromoter
from tests.sources.promises import TOKEN, Body, SourcePromises, fold, read, request, told

AT = "2026-01-01T10:00:00.250Z"


def source(**options: Any) -> FirstPromoter:
    return FirstPromoter(
        "firstpromoter", FirstPromoter.Options.model_validate({"type": "firstpromoter", "token": TOKEN} | options)
    )


def promoter(**fields: Any) -> Body:
    return {
        "id": 41,
        "status": "active",
        "cust_id": "cus_41",
        "email": "ada@engines.example",
        "created_at": "2025-05-05T05:05:05.005Z",
        "default_promotion_id": 701,
        "default_ref_id": "ada",
        "note": "PRIVATE note",
        "parent_promoter_id": 40,
        "earnings_balance": {"cash": 50744, "free_months": 3, "credits": 60, "points": -5},
        "current_balance": {"cash": -1000},
        "paid_balance": None,
        "profile": {
            "id": 9,
            "first_name": "Ada",
            "last_name": "King",
            "website": "https://engines.example",
            "company_name": "Engines & Co",
            "phone_number": "+44 1",
            "address": "1 Mill Rd",
            "vat_id": "PRIVATE",
            "country": "GB",
            "paypal_email": "PRIVATE@pay.example",
            "avatar_url": "https://engines.example/a.png",
            "description": "Makes engines",
            "social_accounts": {"twitter": {"url": "https://x.example/ada"}, "youtube": {"url": ""}, "twitch": None},
        },
        "promotions": [],
    } | fields


def promotion(number: int = 701, **fields: Any) -> Body:
    return {
        "id": number,
        "status": "offer_running",
        "ref_id": "ada",
        "promo_code": "ADA10",
        "promoter_id": 41,
        "campaign_id": 5,
        "referral_link": "https://shop.example?r=ada",
        "campaign_name": "Main",
        "visitors_count": 9,
        "leads_count": 4,
        "customers_count": 3,
        "refunds_count": 1,
        "cancellations_count": 0,
        "sales_count": 3,
        "sales_total": 201000,
        "refunds_total": -1000,
        "active_customers_count": 2,
    } | fields


def v1(kind: str, number: Any, data: Any, at: Any = AT) -> Body:
    return {"event": {"id": number, "type": kind, "created_at": at}, "data": data}


def lead(**fields: Any) -> Body:
    return {
        "id": 77,
        "state": "signup",
        "email": "lead@shop.example",
        "promotion": promotion(),
        "promoter": promoter(),
    } | fields


def reward(**fields: Any) -> Body:
    return {
        "id": 88,
        "status": "approved",
        "amount": 2050,
        "unit": "cash",
        "conversion_amount": 10000,
        "lead": {"id": 77, "state": "active", "email": "lead@shop.example"},
        "promoter": promoter(),
        "promotion": promotion(),
    } | fields


def v2(kind: str, data: Any, at: Any = "2026-01-01T10:00:00Z", **fields: Any) -> Body:
    entity, _, action = kind.rpartition(".")
    return {
        "event_id": "0f0e0d0c-0000-4000-8000-" + format(crc32(f"{kind}{data}{at}".encode()), "012x"),
        "event_type": kind,
        "action": action,
        "entity_type": entity.partition(".")[0],
        "entity_id": 41 if entity.startswith("promoter") and "campaign" not in entity else 701,
        "changes": {},
        "data": data,
        "timestamp": at,
    } | fields


def promoter_v2(**fields: Any) -> Body:
    return {
        "id": 41,
        "email": "ada@engines.example",
        "name": "Ada King",
        "cust_id": "cus_41",
        "balances": {"cash": 1234, "points": 5},
        "joined_at": "2025-05-05T05:05:05Z",
        "profile": {
            "id": 9,
            "first_name": "Ada",
            "last_name": "King",
            "company_name": "",
            "paypal_email": "PRIVATE",
            "avatar": "https://engines.example/a.png",
            "x_url": "https://x.example/ada",
        },
    } | fields


def membership(**fields: Any) -> Body:
    return {
        "id": 701,
        "campaign_id": 5,
        "promoter_id": 41,
        "state": "accepted",
        "promoter": {"id": 41, "email": "ada@engines.example", "name": "Ada King"},
        "campaign": {"id": 5, "name": "Main"},
        "coupon": "ADA10",
        "ref_token": "ada",
        "ref_link": "https://shop.example?r=ada",
        "created_at": "2025-05-05T05:05:05Z",
    } | fields


class TestFirstPromoterV1KeepsThePromises(SourcePromises):
    secret_keys = (
        "auth_token",
        "temp_password",
        "w8_form_url",
        "w9_form_url",
        "password_setup_url",
        "default_webhook_url",
    )

    def build(self, options: dict[str, Any]) -> Source:
        return FirstPromoter("firstpromoter", FirstPromoter.Options.model_validate({"type": "firstpromoter"} | options))

    def bodies(self) -> Sequence[tuple[Body, str]]:
        return [
            (v1("promoter_signed_up", 1, {"promoter": promoter(status="pending"), "promotions": [promotion()]}), ""),
            (
                v1(
                    "promoter_accepted",
                    2,
                    {
                        "state": "accepted",
                        "promoter": promoter(),
                        "promotion": promotion(702),
                        "campaign": {"id": 5, "name": "Main"},
                    },
                ),
                "",
            ),
            (v1("lead_signup", 3, lead()), ""),
            (v1("lead_becomes_referral", 4, lead(state="active")), ""),
            (v1("new_customer", 4, lead(state="active")), ""),
            (v1("reward_created", 5, reward(), "2026-01-01T10:00:01Z"), ""),
            (
                v1(
                    "fulfilment_pending",
                    6,
                    {
                        "amount": 3,
                        "unit": "free_months",
                        "promoter": promoter(),
                        "campaign": {"id": 6, "name": "Other"},
                    },
                ),
                "",
            ),
        ]


class TestFirstPromoterV2KeepsThePromises(TestFirstPromoterV1KeepsThePromises):
    def bodies(self) -> Sequence[tuple[Body, str]]:
        return [
            (v2("promoter.created", promoter_v2()), ""),
            (v2("promoter.updated", promoter_v2(cust_id=None), changes={"cust_id": ["cus_41", None]}), ""),
            (v2("promoter_campaign.created", membership(state="pending")), ""),
            (v2("promoter_campaign.accepted", membership()), ""),
            (
                v2(
                    "commission.created",
                    {"id": 3, "amount": 99, "unit": "cash", "status": "pending", "promoter": {"id": 41}},
                ),
                "",
            ),
            (v2("promoter.deleted", promoter_v2(), "2026-01-02T00:00:00Z"), ""),
        ]


def folded(*bodies: Body, **options: Any) -> dict[str, Any]:
    updates: list[AffiliateUpdate] = [update for body in bodies for update in read(source(**options), body)]
    ((key, facts),) = fold(updates).items()
    return told(key, facts)


ADA: Body = {
    "id": "firstpromoter:41",
    "source": "firstpromoter",
    "platform": "firstpromoter",
    "affiliate_id": "41",
    "status": "active",
    "source_status": "active",
    "email": "ada@engines.example",
    "first_name": "Ada",
    "last_name": "King",
    "name": "Ada King",
    "company": "Engines & Co",
    "website": "https://engines.example",
    "phone": "+44 1",
    "country": "GB",
    "description": "Makes engines",
    "avatar_url": "https://engines.example/a.png",
    "address": {"line1": "1 Mill Rd"},
    "socials": {"twitter": "https://x.example/ada"},
    "external_id": "cus_41",
    "parent_id": "40",
    "ref_id": "ada",
    "referral_link": "https://shop.example?r=ada",
    "promo_code": "ADA10",
    "campaign": "Main",
    "campaigns": [
        {
            "id": "701",
            "name": "Main",
            "ref_id": "ada",
            "referral_link": "https://shop.example?r=ada",
            "promo_code": "ADA10",
            "campaign_id": "5",
            "offer_status": "offer_running",
            "visitors": 9,
            "leads": 4,
            "customers": 3,
            "active_customers": 2,
            "refunds": 1,
            "cancellations": 0,
            "sales": 3,
            "sales_total": "2010.00",
            "refunds_total": "-10.00",
        }
    ],
    "stats": {
        "visitors": 9,
        "leads": 4,
        "customers": 3,
        "active_customers": 2,
        "refunds": 1,
        "cancellations": 0,
        "sales": 3,
        "sales_total": "2010.00",
        "refunds_total": "-10.00",
    },
    "currency": "USD",
    "balances": {
        "earned": {"cash": "507.44", "free_months": 3, "credits": 60, "points": -5},
        "current": {"cash": "-10.00"},
    },
    "last_lead": {"email": "lead@shop.example", "state": "signup", "at": "2026-01-01T10:00:00.250000Z"},
    "created_at": "2025-05-05T05:05:05.005000Z",
    "updated_at": "2026-01-01T10:00:00.250000Z",
    "last_event": {"type": "lead_signup", "at": "2026-01-01T10:00:00.250000Z"},
}


def test_a_lead_tells_all_about_its_promoter() -> None:
    assert folded(v1("lead_signup", 1, lead())) == ADA


def test_a_reward_changes_only_balances_and_what_came_last() -> None:
    earned = promoter(earnings_balance={"cash": 52794, "free_months": 3, "credits": 60, "points": -5})
    before = v1("lead_signup", 1, lead())
    after = v1("reward_created", 2, reward(promoter=earned), "2026-01-01T11:00:00Z")
    got = folded(before, after)
    assert got == folded(after, before)
    changed = {path for path in got if got[path] != ADA.get(path)}
    assert changed == {"balances", "last_reward", "last_event", "updated_at"}
    assert got["balances"]["earned"]["cash"] == "527.94"
    assert got["last_reward"] == {
        "amount": "20.50",
        "unit": "cash",
        "status": "approved",
        "conversion_amount": "100.00",
        "at": "2026-01-01T11:00:00Z",
    }


def test_a_promoter_in_three_campaigns_keeps_three_memberships_in_any_order() -> None:
    events = [
        v1("promoter_signed_up", 1, {"promoter": promoter(), "promotions": [promotion(701)]}),
        v1(
            "promoter_accepted",
            2,
            {
                "state": "accepted",
                "promoter": promoter(),
                "promotion": promotion(702, campaign_name="Second", sales_count=5, sales_total=5),
            },
            "2026-01-02T00:00:00Z",
        ),
        v1(
            "reward_created",
            3,
            reward(promotion=promotion(703, campaign_name="Third", ref_id="ada3")),
            "2026-01-03T00:00:00Z",
        ),
    ]
    for order in permutations(events):
        got = folded(*order, *order)
        assert [(entry["id"], entry["name"]) for entry in got["campaigns"]] == [
            ("701", "Main"),
            ("702", "Second"),
            ("703", "Third"),
        ]
        assert got["stats"]["sales"] == 3 + 5 + 3
        assert got["stats"]["sales_total"] == "4020.05"
        assert got["campaign"] == "Main"


def test_an_older_event_that_comes_late_changes_nothing_that_is_newer() -> None:
    new = v1("lead_signup", 2, lead(promoter=promoter(email="new@engines.example")), "2026-02-01T00:00:00Z")
    old = v1("lead_signup", 1, lead(promoter=promoter(email="old@engines.example")))
    assert folded(new, old)["email"] == folded(old, new)["email"] == "new@engines.example"


@pytest.mark.parametrize(
    "names", [("lead_becomes_referral", "new_customer"), ("promoter_signed_up", "promoter_signs_up")]
)
def test_two_names_of_one_event_are_two_keys_and_one_record(names: tuple[str, str]) -> None:
    bodies = [v1(name, 22, lead()) for name in names]
    keys = [source().accept(request(body)).key for body in bodies]
    assert keys == [f"{name}:22" for name in names]
    assert folded(bodies[0]) == folded(bodies[1]) == folded(*bodies)


def test_the_shape_of_2017_works() -> None:
    got = folded(
        v1(
            "reward_created",
            "901",
            {
                "id": "3",
                "amount": "1",
                "unit": "free_months",
                "promoter": {
                    "id": "234",
                    "email": "a@b.example",
                    "status": "active",
                    "current_balance": {"free_month": 2},
                },
            },
        )
    )
    assert got["id"] == "firstpromoter:234"
    assert got["balances"] == {"current": {"free_months": 2}}
    assert got["last_reward"]["amount"] == "1"
    assert got["email"] == "a@b.example"


def test_a_short_body_says_what_it_says_and_takes_nothing_away() -> None:
    full = v1("lead_signup", 1, lead())
    short = v1(
        "lead_cancelled",
        2,
        {"state": "cancelled", "promoter": {"id": 41}, "promotion": {"id": 701}},
        "2026-02-01T00:00:00Z",
    )
    got = folded(full, short)
    assert {path: got[path] for path in got if got[path] != ADA.get(path)} == {
        "last_lead": {"state": "cancelled", "at": "2026-02-01T00:00:00Z"},  # not the e-mail of the lead before
        "updated_at": "2026-02-01T00:00:00Z",
        "last_event": {"type": "lead_cancelled", "at": "2026-02-01T00:00:00Z"},
    }


def test_the_promoter_may_be_named_by_the_promotion_only() -> None:
    assert folded(v1("lead_signup", 1, {"state": "signup", "promotion": promotion()}))["id"] == "firstpromoter:41"


def test_an_unknown_type_updates_the_promoter_that_it_carries() -> None:
    got = folded(v1("promoter_danced", 1, {"promoter": promoter(email="new@engines.example")}))
    assert got["email"] == "new@engines.example"
    assert got["last_event"]["type"] == "promoter_danced"


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (v1("campaign_painted", 1, {"color": "red"}), 0),
        (v1("promoter_accepted", 1, {"test": True}), 0),
        (v2("promoter.created", {"test": True}), 0),
        (v2("referral.created", {"test": True}), 0),
    ],
)
def test_a_test_delivery_and_what_is_about_nobody_change_nothing(body: Body, number: int) -> None:
    assert len(read(source(), body)) == number


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"promoter": {}},
        {"promoter": {"id": None}},
        {"promoter": {"id": "x"}},
        {"promoter": {"id": True}},
        {"promoter": {"id": 0}},
        {"promoter": "41"},
        {"promoter": {"id": "x"}, "promotion": promotion()},
    ],
)
def test_a_known_type_without_a_usable_promoter_is_an_unknown_shape(data: Body) -> None:
    with pytest.raises(UnknownShape, match="promoter"):
        read(source(), v1("reward_created", 1, data))


@pytest.mark.parametrize(("currency", "cash"), [("USD", "507.44"), ("jpy", "50744"), ("KWD", "50.744")])
def test_cash_has_the_decimals_of_the_currency_and_other_units_are_counts(currency: str, cash: str) -> None:
    got = folded(v1("lead_signup", 1, lead()), currency=currency)
    assert got["currency"] == currency.upper()
    assert got["balances"]["earned"] == {"cash": cash, "free_months": 3, "credits": 60, "points": -5}


@pytest.mark.parametrize("currency", ["", "US", "DOLLAR", "U$D", "12£", "XXQ"])
def test_a_currency_that_is_no_code_is_refused(currency: str) -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        source(currency=currency)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("active", "active"),
        ("pending", "pending"),
        ("blocked", "blocked"),
        ("Active", "active"),
        ("frozen", "unknown"),
        ("", "active"),
    ],
)
def test_the_status_follows_the_platforms_word(word: str, status: str | None) -> None:
    got = folded(
        v1("lead_signup", 1, lead()), v1("lead_signup", 2, lead(promoter=promoter(status=word)), "2026-02-01T00:00:00Z")
    )
    assert got.get("status") == status
    assert got["source_status"] == (word or "active")


@pytest.mark.parametrize(
    ("balance", "told_as"),
    [
        ({"cash": "882"}, {"cash": "8.82"}),
        ({"cash": 882.0}, {"cash": "8.82"}),
        ({"cash": 882.5}, {"cash": "8.825"}),
        ({"cash": {"amount": 1}, "points": 2}, {"points": 2}),
        ({"cash": 10**40, "points": 2}, {"points": 2}),
        ({"free_months": "3", "credits": "many"}, {"free_months": 3}),
        ({"gold_bars": 1, "points": 0}, {"points": 0}),
    ],
)
def test_one_odd_unit_loses_no_other(balance: Body, told_as: Body) -> None:
    assert folded(v1("lead_signup", 1, lead(promoter={"id": 41, "current_balance": balance})))["balances"] == {
        "current": told_as
    }


# ---------------------------------------------------------------- v2


def test_v2_tells_of_a_promoter() -> None:
    assert folded(v2("promoter.created", promoter_v2())) == {
        "id": "firstpromoter:41",
        "source": "firstpromoter",
        "platform": "firstpromoter",
        "affiliate_id": "41",
        "email": "ada@engines.example",
        "first_name": "Ada",
        "last_name": "King",
        "name": "Ada King",
        "avatar_url": "https://engines.example/a.png",
        "socials": {"twitter": "https://x.example/ada"},
        "external_id": "cus_41",
        "currency": "USD",
        "balances": {"current": {"cash": "12.34", "points": 5}},
        "created_at": "2025-05-05T05:05:05Z",
        "updated_at": "2026-01-01T10:00:00Z",
        "last_event": {"type": "promoter.created", "at": "2026-01-01T10:00:00Z"},
    }


def test_v2_memberships_bring_link_campaign_and_status() -> None:
    events = [
        v2("promoter.created", promoter_v2()),
        v2("promoter_campaign.created", membership(state="pending")),
        v2("promoter_campaign.accepted", membership()),  # of the same second: the later step of a life wins
    ]
    for order in permutations(events):
        got = folded(*order)
        assert got["status"] == "active"
        assert got["source_status"] == "accepted"
        assert (got["ref_id"], got["referral_link"], got["promo_code"], got["campaign"]) == (
            "ada",
            "https://shop.example?r=ada",
            "ADA10",
            "Main",
        )
        assert got["campaigns"] == [
            {
                "id": "701",
                "name": "Main",
                "status": "accepted",
                "ref_id": "ada",
                "referral_link": "https://shop.example?r=ada",
                "promo_code": "ADA10",
                "campaign_id": "5",
                "accepted_at": "2026-01-01T10:00:00Z",
            }
        ]


def test_v2_a_membership_goes_by_the_entity_id_where_data_has_none() -> None:
    body = membership()
    del body["id"], body["promoter_id"]
    got = folded(v2("promoter_campaign.created", body))
    assert got["id"] == "firstpromoter:41"
    assert got["campaigns"][0]["id"] == "701"


def test_v2_a_membership_that_was_deleted_is_gone() -> None:
    got = folded(
        v2("promoter_campaign.created", membership()),
        v2("promoter_campaign.deleted", membership(), "2026-01-03T00:00:00Z"),
    )
    assert "campaigns" not in got


def test_v2_a_membership_of_nobody_is_an_unknown_shape() -> None:
    with pytest.raises(UnknownShape):
        read(source(), v2("promoter_campaign.created", {"id": 701, "state": "accepted"}))


def test_v2_what_changed_to_a_blank_is_cleared_and_a_blank_alone_says_nothing() -> None:
    before = v2("promoter.created", promoter_v2())
    blank = v2("promoter.updated", promoter_v2(cust_id=""), "2026-01-02T00:00:00Z")
    cleared = v2(
        "promoter.updated", promoter_v2(cust_id=None), "2026-01-02T00:00:00Z", changes={"cust_id": ["cus_41", None]}
    )
    assert folded(before, blank)["external_id"] == "cus_41"
    assert "external_id" not in folded(before, cleared)


def test_v2_a_deleted_promoter_is_gone_until_it_is_seen_again() -> None:
    created, deleted = (
        v2("promoter.created", promoter_v2()),
        v2("promoter.deleted", promoter_v2(), "2026-01-02T00:00:00Z"),
    )
    paid = v2("commission.approved", {"amount": 5, "unit": "cash", "promoter_id": 41}, "2026-01-03T00:00:00Z")
    for order in permutations([created, deleted]):
        got = folded(*order)
        assert (got["gone_at"], got["status"]) == ("2026-01-02T00:00:00Z", "inactive")
        assert got["email"] == "ada@engines.example"
    back = folded(deleted, v2("promoter.updated", promoter_v2(), "2026-01-04T00:00:00Z"))
    assert "gone_at" not in back
    assert folded(deleted, paid)["last_reward"]["amount"] == "0.05"


@pytest.mark.parametrize(
    "named",
    [
        {"promoter": {"id": 41, "email": "ada@engines.example"}},
        {"promoter_id": "41"},
        {"promoter_campaign": {"id": 701, "promoter_id": 41}},
        {"promoter_campaign": {"id": 701, "promoter": {"id": 41}}},
    ],
)
def test_v2_referrals_and_commissions_count_where_they_name_a_promoter(named: Body) -> None:
    got = folded(
        v2("referral.created", {"id": 1, "state": "signup", "email": "lead@shop.example"} | named),
        v2("commission.created", {"id": 2, "status": "pending", "amount": 500, "unit": "points"} | named),
    )
    assert got["id"] == "firstpromoter:41"
    assert got["last_lead"] == {"email": "lead@shop.example", "state": "signup", "at": "2026-01-01T10:00:00Z"}
    assert got["last_reward"] == {"amount": "500", "unit": "points", "status": "pending", "at": "2026-01-01T10:00:00Z"}


@pytest.mark.parametrize(
    "kind", ["referral.created", "commission.updated", "payout.created", "payments_batch.created", "brand.new"]
)
def test_v2_what_names_no_promoter_is_about_no_affiliate(kind: str) -> None:
    assert read(source(), v2(kind, {"id": 1, "amount": 5, "unit": "cash", "email": "lead@shop.example"})) == ()


def test_v2_a_balance_update_finds_its_promoter_in_any_wrapping() -> None:
    for data in (
        {"id": 41, "balances": {"cash": 100}},
        {"id": 9, "promoter_id": 41, "current_balance": {"cash": 100}},
        {"id": 9, "promoter": {"id": 41}, "balances": {"cash": 100}},
        {"balances": {"cash": 100}},
    ):
        got = folded(v2("promoter.balance.updated", data))
        assert got["id"] == "firstpromoter:41"
        assert got["balances"] == {"current": {"cash": "1.00"}}


# ---------------------------------------------------------------- envelopes


def test_the_key_is_type_and_id() -> None:
    assert source().accept(request(v1("lead_signup", 22, {}))).key == "lead_signup:22"
    assert source().accept(request(v1("lead_signup", "22", {}))).key == "lead_signup:22"
    body = v2("promoter.created", promoter_v2())
    assert source().accept(request(body)).key == f"promoter.created:{body['event_id']}"
    assert source().accept(request(body)).topic == "promoter.created"


@pytest.mark.parametrize(
    "body",
    [
        v1("", 1, {}),
        v1("x", None, {}),
        v1("x", "", {}),
        v1("x", [], {}),
        v1("x", True, {}),
        v1("x", 1.5, {}),
        v1("x", "new\nline", {}),
        v1("x" * 101, 1, {}),
        v1("x", 1, None),
        v1("x", 1, []),
        {"event": {"id": 1, "type": "x"}},
        {"event": "x", "data": {}},
        {"event_id": "1"},
        {"event_id": None, "event_type": "promoter.created", "data": {}},
        {"event_type": "promoter.created", "data": {}},
    ],
)
def test_an_envelope_without_id_or_type_is_unreadable(body: Body) -> None:
    with pytest.raises(Unreadable):
        source().accept(request(body))


def test_an_id_and_a_type_are_read_however_they_are_written() -> None:
    event = source().accept(request(v1("\u200b lead_signup\u00a0", 12.0, {})))
    assert (event.topic, event.key) == ("lead_signup", "lead_signup:12")


@pytest.mark.parametrize(
    ("at", "micros"),
    [
        ("2026-01-01T10:00:00.250Z", 1_767_261_600_250_000),
        ("2026-01-01T12:00:00.25+02:00", 1_767_261_600_250_000),
        ("2026-01-01T10:00:00", 1_767_261_600_000_000),
        (None, 1_772_366_400_000_000),
        ("", 1_772_366_400_000_000),
        ("yesterday", 1_772_366_400_000_000),
        (5, 1_772_366_400_000_000),
        ("0001-01-01T00:00:00+14:00", 1_772_366_400_000_000),
        ("9999-12-31T23:59:59-14:00", 1_772_366_400_000_000),
        ("2026-03-02T12:00:00Z", 1_772_452_800_000_000),  # a clock that is a day ahead is believed
        ("2026-03-02T12:00:00.000001Z", 1_772_366_400_000_000),
        ("2031-01-01T00:00:00Z", 1_772_366_400_000_000),
    ],
)
def test_the_time_is_the_platforms_else_that_of_arrival(at: Any, micros: int) -> None:
    assert source().accept(request(v1("lead_signup", 1, {}, at))).at == micros


def test_data_that_is_no_object_in_v2_is_kept_for_a_developer() -> None:
    for kind in ("promoter.created", "referral.created"):
        with pytest.raises(UnknownShape):
            read(source(), v2(kind, "text"))


def test_private_data_is_in_no_fact() -> None:
    for suite in (TestFirstPromoterV1KeepsThePromises(), TestFirstPromoterV2KeepsThePromises()):
        for body, _ in suite.bodies():
            assert "PRIVATE" not in repr(read(source(), body))


def test_an_id_of_many_digits_keeps_them_all() -> None:
    body = json.dumps(v1("lead_signup", 1, lead(promoter={"id": 12345678901234567890}))).encode()
    assert folded_raw(body)["id"] == "firstpromoter:12345678901234567890"


def folded_raw(body: bytes) -> dict[str, Any]:
    ((key, facts),) = fold(read(source(), body)).items()
    return told(key, facts)
