"""What the outside check found wrong or missing, kind by kind: the right values, in any order of arrival."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from connector.core.api_rows import open_answer
from connector.core.facts import AffiliateUpdate
from connector.core.lenient import amount
from connector.core.source import Event, Source
from connector.sources.everflow.webhooks import Everflow
from connector.sources.firstpromoter.api import ROW_V1, ROW_V2
from connector.sources.firstpromoter.webhooks import FirstPromoter
from tests.sources.promises import TOKEN, Body, fold, request, told

DAY = "2026-11-0{}T08:00:00Z".format


def firstpromoter(**options: Any) -> FirstPromoter:
    return FirstPromoter(
        "firstpromoter", FirstPromoter.Options.model_validate({"type": "firstpromoter", "token": TOKEN} | options)
    )


def v1(kind: str, data: Body, day: int = 1, at: Any = None) -> Body:
    return {"event": {"id": day, "type": kind, "created_at": at or DAY(day)}, "data": data}


def v2(kind: str, data: Body, day: int = 1, **fields: Any) -> Body:
    return {"event_id": f"{kind}{day}", "event_type": kind, "data": data, "timestamp": DAY(day)} | fields


def said(source: Source, event: Body | bytes | Event, query: str = "") -> Sequence[AffiliateUpdate]:
    """What *event* says; a webhook arrives late in the month."""
    if not isinstance(event, Event):
        arrival = datetime(2026, 11, 28, tzinfo=UTC)
        event = source.accept(replace(request(event, query), received_at=arrival))
    return source.normalize(event)


def row(data: Body, day: int, topic: str = ROW_V1) -> Event:
    moment = datetime(2026, 11, day, 8, tzinfo=UTC)
    return Event(
        "firstpromoter", str(day), topic, int(moment.timestamp()) * 1_000_000, moment, json.dumps(data).encode()
    )


def record(*events: Body | Event, source: FirstPromoter | None = None) -> Body:
    """The record after *events*, which must not depend on their order."""
    source = source or firstpromoter()
    updates = [said(source, event) for event in events]
    found: list[Body] = []
    for order in permutations(updates):
        ((key, facts),) = fold([update for one in order for update in one]).items()
        found.append(told(key, facts))
    assert all(one == found[0] for one in found)
    return found[0]


def promoter(**fields: Any) -> Body:
    return {"id": 41, "status": "active", "email": "ada@example.com"} | fields


# ---------------------------------------------------------------- 1: balances


@pytest.mark.parametrize("nothing", [None, {}, "", [], 0])
def test_a_balance_that_is_there_and_empty_is_zero_of_what_there_was(nothing: Any) -> None:
    got = record(
        v1("lead_signup", {"promoter": promoter(current_balance={"cash": 4200, "points": 3})}, 1),
        v1("reward_created", {"promoter": promoter(current_balance=nothing)}, 2),
    )
    assert got["balances"]["current"] == {"cash": "0.00", "points": 0}


def test_a_unit_that_a_later_balance_does_not_name_is_zero_then() -> None:
    got = record(
        v1("lead_signup", {"promoter": promoter(earnings_balance={"cash": 4200, "points": 3})}, 1),
        v1("lead_signup", {"promoter": promoter(earnings_balance={"points": 5})}, 2),
        v1("lead_signup", {"promoter": promoter()}, 3),  # short: says nothing of balances
    )
    assert got["balances"] == {"earned": {"cash": "0.00", "points": 5}}


def test_an_older_balance_that_arrives_later_does_not_come_back() -> None:
    got = record(
        v1("lead_signup", {"promoter": promoter(current_balance={"cash": 4200})}, 1),
        v1("lead_signup", {"promoter": promoter(current_balance=None)}, 2),
        v1("lead_signup", {"promoter": promoter(current_balance={"cash": 100})}, 3),
        v1("lead_signup", {"promoter": promoter(current_balance={"points": 1})}, 4),
    )
    assert got["balances"] == {"current": {"cash": "0.00", "points": 1}}


_units = st.dictionaries(st.sampled_from(["cash", "points", "credits"]), st.integers(1, 9), max_size=3)


@given(st.lists(st.none() | _units | st.just("absent"), min_size=1, max_size=4))
def test_the_latest_balance_that_was_there_is_the_whole_truth(said_of_balances: list[Any]) -> None:
    events: list[Body | Event] = []
    for day, balance in enumerate(said_of_balances, 1):
        fields = {} if balance == "absent" else {"current_balance": balance}
        events.append(v1("lead_signup", {"promoter": promoter(**fields)}, day))
    got = record(*events).get("balances", {}).get("current", {})
    there = [balance or {} for balance in said_of_balances if balance != "absent"]
    ever = {unit for balance in there for unit in balance}
    latest = there[-1] if there else {}
    expected = {unit: latest.get(unit, 0) for unit in ever}
    if "cash" in expected:
        expected["cash"] = f"0.0{expected['cash']}"
    assert got == expected


def test_an_affiliate_without_amounts_gets_none_by_an_empty_balance() -> None:
    assert "balances" not in record(v1("lead_signup", {"promoter": promoter(current_balance=None, paid_balance={})}))


def test_of_a_balance_that_can_not_be_read_nobody_knows_the_rest() -> None:
    got = record(
        v1("lead_signup", {"promoter": promoter(current_balance={"cash": 4200, "points": 3})}, 1),
        v1("lead_signup", {"promoter": promoter(current_balance={"cash": "lots", "credits": 1})}, 2),
    )
    assert got["balances"]["current"] == {"cash": "42.00", "points": 3, "credits": 1}


def test_v2_balances_are_what_is_to_be_paid_and_complete() -> None:
    paid_out: list[Body | Event] = [
        v2("promoter.updated", {"id": 41, "balances": {}}, 2),
        v2("promoter.balance.updated", {"id": 41}, 2, changes={"balances": [{"cash": 4200}, {}]}),
        v2("commission.updated", {"id": 9, "promoter": {"id": 41, "balances": None}}, 2),
        row({"id": 41, "balances": {"points": 0}}, 2, ROW_V2),
        row({"id": 41, "current_balance": None}, 2),
    ]
    for event in paid_out:
        got = record(v2("promoter.created", {"id": 41, "balances": {"cash": 4200}}, 1), event)
        assert got["balances"]["current"]["cash"] == "0.00", event


def test_zero_has_the_decimals_of_its_currency() -> None:
    got = record(
        v1("lead_signup", {"promoter": promoter(current_balance={"cash": 4200})}, 1),
        v1("lead_signup", {"promoter": promoter(current_balance=None)}, 2),
        source=firstpromoter(currency="KWD"),
    )
    assert got["balances"]["current"]["cash"] == "0.000"


# ---------------------------------------------------------------- 2: status


def accepted(campaign: int | None, day: int, state: str | None = "accepted", more: Body | None = None) -> Body:
    data: Body = {"promoter": {"id": 41, "email": "ada@example.com"}}
    if state is not None:
        data["state"] = state
    if campaign is not None:
        data["promotion"] = {
            "status": "offer_running",
            "campaign_id": campaign,
            "campaign_name": f"Campaign {campaign}",
            "referral_link": f"https://shop.example/{campaign}",
        }
    return v1("promoter_accepted", data | (more or {}), day)


def test_the_state_of_an_acceptance_is_the_status_and_the_offers_is_not() -> None:
    got = record(v1("promoter_signed_up", {"promoter": promoter(status="pending")}, 1), accepted(1, 2))
    assert (got["status"], got["source_status"]) == ("active", "accepted")
    assert got["campaigns"][0]["offer_status"] == "offer_running"


@pytest.mark.parametrize("body", [
        accepted(None, 1),
        accepted(1, 1, None),
        v1("promoter_accepted", {"promoter": {"id": 41}, "state": "accepted", "campaign": {"id": 1, "name": "One"}}),
        v2("promoter_campaign.accepted", {"id": 7, "promoter_id": 41, "campaign": {"id": 1}}),
        v2("promoter_campaign.updated", {"id": 7, "promoter_id": 41, "status": "accepted"}),
    ])  # fmt: skip
def test_an_acceptance_says_active_in_every_shape(body: Body) -> None:
    assert record(body)["status"] == "active"


@pytest.mark.parametrize("body", [
        v1("lead_signup", {"promoter": promoter(status="On hold")}),
        v1("promoter_accepted", {"promoter": {"id": 41}, "state": "On hold", "campaign": {"id": 1}}),
        v2("promoter_campaign.updated", {"id": 7, "promoter_id": 41, "state": "On hold"}),
        row({"id": 41, "status": "On hold"}, 1),
        row({"id": 41, "promoter_campaigns": [{"id": 7, "state": "On hold"}]}, 1, ROW_V2),
    ])  # fmt: skip
def test_a_word_that_is_not_known_is_unknown_and_kept(body: Body | Event) -> None:
    got = record(body)
    assert (got["status"], got["source_status"]) == ("unknown", "On hold")


def test_a_later_word_that_is_not_known_is_not_hidden_by_an_older_status() -> None:
    waits = v1("promoter_signed_up", {"promoter": promoter(status="pending")}, 1)
    got = record(waits, v1("promoter_accepted", {"promoter": {"id": 41}, "state": "vetted", "campaign": {"id": 1}}, 2))
    assert (got["status"], got["source_status"]) == ("unknown", "vetted")


def test_invisible_signs_are_no_part_of_a_word_for_the_status_or_a_currency() -> None:
    assert record(v1("lead_signup", {"promoter": promoter(status="act\u200bive")}))["status"] == "active"
    got = record(v2("promoter_campaign.updated", {"id": 7, "promoter_id": 41, "state": "acc\u00adepted"}))
    assert got["status"] == "active"
    reward = {"promoter": {"id": 41}, "amount": 500, "unit": "cash", "currency": "J\u200bPY"}
    assert record(v1("reward_created", reward))["last_reward"]["amount"] == "500"


# ---------------------------------------------------------------- 3: memberships


def test_the_latest_accepted_campaign_is_the_default_and_the_older_one_stays() -> None:
    got = record(accepted(1, 1), accepted(2, 2))
    assert (got["campaign"], got["referral_link"]) == ("Campaign 2", "https://shop.example/2")
    assert [campaign["name"] for campaign in got["campaigns"]] == ["Campaign 1", "Campaign 2"]


def test_a_backfill_does_not_move_the_default_back() -> None:
    promotions = [
        {"id": 10 + number, "campaign_id": number, "campaign_name": f"Campaign {number}"} for number in (1, 2)
    ]
    got = record(accepted(1, 1), accepted(2, 2), row(promoter(promotions=promotions), 3))
    assert got["campaign"] == "Campaign 2"
    assert [campaign["id"] for campaign in got["campaigns"]] == ["11", "12"]


def test_the_platforms_default_membership_wins_as_of_then() -> None:
    first: Body = {"promotion": {"id": 501, "campaign_id": 1, "campaign_name": "Campaign 1"}}
    second: Body = {"promotion": {"id": 502, "campaign_id": 2, "campaign_name": "Campaign 2"}}
    stays: Body = {"promoter": promoter(default_promotion_id=501)}
    assert record(accepted(1, 1, more=first), accepted(2, 2, more=second | stays))["campaign"] == "Campaign 1"
    assert record(accepted(1, 1, more=first | stays), accepted(2, 2, more=second))["campaign"] == "Campaign 2"


def test_a_campaign_that_is_known_by_its_name_only_is_a_membership_too() -> None:
    def by_name(name: str, day: int) -> Body:
        return accepted(
            None, day, more={"promotion": {"campaign_name": name, "ref_link": f"https://shop.example/{name}"}}
        )

    got = record(
        by_name("One", 1), by_name("Two", 2), accepted(None, 3, more={"promotion": {"id": 7, "campaign_name": "Two"}})
    )
    assert (got["campaign"], got["referral_link"]) == ("Two", "https://shop.example/Two")
    assert [campaign["id"] for campaign in got["campaigns"]] == ["7", "campaign:One"]


def test_a_name_leads_to_the_campaign_and_on_to_the_membership() -> None:
    def said_of(promotion: Body, day: int) -> Body:
        return v1("lead_signup", {"promoter": {"id": 41}, "promotion": promotion}, day)

    got = record(
        said_of({"campaign_name": "Main", "ref_id": "ada"}, 1),
        said_of({"campaign_name": "Main", "campaign_id": 7}, 2),
        said_of({"id": 701, "campaign_id": 7, "promo_code": "ADA10"}, 3),
    )
    (membership,) = got["campaigns"]
    assert [membership.get(field) for field in ("id", "name", "ref_id", "promo_code")] == [
        "701",
        "Main",
        "ada",
        "ADA10",
    ]


@pytest.mark.parametrize("complete", [
        v1("promoter_signed_up", {"promoter": promoter(), "promotions": [{"id": 12, "campaign_id": 2}]}, 2),
        row(promoter(promotions=[{"id": 12, "campaign_id": 2}]), 2),
        row({"id": 41, "promoter_campaigns": [{"campaign_id": 2}]}, 2, ROW_V2),
    ])  # fmt: skip
def test_a_list_of_memberships_is_complete(complete: Body | Event) -> None:
    got = record(accepted(1, 1), accepted(2, 1), complete)
    assert [campaign["campaign_id"] for campaign in got["campaigns"]] == ["2"]


def test_an_acceptance_of_the_second_of_the_sign_up_is_no_membership_that_was_left() -> None:
    got = record(
        v1("promoter_signed_up", {"promoter": promoter(), "promotions": [{"id": 11, "campaign_id": 1}]}, 1),
        accepted(2, 1),
    )
    assert [campaign["id"] for campaign in got["campaigns"]] == ["11", "campaign:2"]


def test_a_body_of_thousands_of_memberships_takes_seconds_and_not_minutes() -> None:
    promotions = [{"campaign_name": f"n{number}"} for number in range(30_000)]
    began = time.thread_time()
    record(v1("promoter_signed_up", {"promoter": promoter(), "promotions": promotions}))
    assert time.thread_time() - began < 10


@pytest.mark.parametrize("nothing", [[], None, "absent"])
def test_an_empty_or_absent_list_of_memberships_says_nothing(nothing: Any) -> None:
    promotions = {} if nothing == "absent" else {"promotions": nothing}
    signed_up = v1("promoter_signed_up", {"promoter": promoter(**promotions)} | promotions, 2)
    got = record(accepted(1, 1), signed_up, row(promoter(**promotions), 3))
    assert [campaign["campaign_id"] for campaign in got["campaigns"]] == ["1"]


_memberships = st.fixed_dictionaries({"campaign_id": st.integers(1, 3)}, optional={"id": st.integers(11, 13)})
_membership_events = st.one_of(
    st.tuples(st.just("promoter_accepted"), _memberships, st.sampled_from(["accepted", "pending", "odd"])),
    st.tuples(st.just("lead_signup"), _memberships, st.none()),
    st.tuples(st.just("promoter_signed_up"), _memberships, st.sampled_from(["active", "pending", "odd"])),
)


@given(st.lists(st.tuples(_membership_events, st.integers(1, 2)), min_size=1, max_size=4))
def test_memberships_and_status_do_not_depend_on_the_order(drawn: list[Any]) -> None:
    events: list[Body | Event] = []
    for (kind, membership, word), day in drawn:
        if kind == "promoter_signed_up":
            data = {"promoter": promoter(status=word), "promotions": [membership]}
        else:
            data = {"promoter": {"id": 41}, "promotion": membership, "state": word}
        events.append(v1(kind, data, day))
    record(*events)  # compares every order


# ---------------------------------------------------------------- 4: times


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2026-11-01 08:00:00 UTC", "2026-11-02 08:00:00 UTC"),
        (1793520000, 1793606400),
        ("1793520000", "1793606400"),
        (1793520000000, 1793606400000),
        ("2026-11-02T01:00:00+02:00", "2026-11-02T00:30:00Z"),
        ("2026-11-01 08:00:00", "2026-11-01 09:00:00"),
    ],
)
def test_what_happened_later_wins_however_its_time_is_written(older: Any, newer: Any) -> None:
    def event(at: Any, company: str) -> Body:
        joined = {"created_at": older, "profile": {"company_name": company}}
        return v1("promoter_signed_up", {"promoter": promoter(**joined)}, at=at)

    got = record(event(newer, "New name"), event(older, "Old name"))
    assert got["company"] == "New name"
    assert got["created_at"].startswith("2026-11-01")


# ---------------------------------------------------------------- 5: names of fields


def test_v1_and_v2_names_of_a_membership_are_read_in_both() -> None:
    names = {"ref_token": "ada", "coupon": "ADA10", "ref_link": "https://shop.example/ada", "campaign": {"id": 5}}
    older = {"ref_id": "ada", "promo_code": "ADA10", "referral_link": "https://shop.example/ada", "campaign_id": 5}
    for fields in (names, older):
        for event in (
            v1("lead_signup", {"promoter": promoter(), "promotion": {"id": 7} | fields}),
            v1("promoter_signed_up", {"promoter": promoter(), "promotions": [{"id": 7} | fields]}),
            v2("promoter_campaign.created", {"id": 7, "promoter_id": 41} | fields),
            row(promoter(promotions=[{"id": 7} | fields]), 1),
        ):
            got = record(event)
            found = [got.get(path) for path in ("ref_id", "promo_code", "referral_link")]
            assert found == ["ada", "ADA10", "https://shop.example/ada"], event


def test_a_referral_may_have_a_status_instead_of_a_state() -> None:
    lead = {"promoter_id": 41, "email": "lead@example.com", "customer_since": DAY(1), "plan_name": "Pro"}
    for kind, fields in (("referral.updated", {"status": "active"}), ("referral.updated", {"state": "active"})):
        assert record(v2(kind, lead | fields, 2))["last_lead"] == {
            "email": "lead@example.com",
            "state": "active",
            "customer_since": "2026-11-01T08:00:00Z",
            "plan": "Pro",
            "at": "2026-11-02T08:00:00Z",
        }


def test_a_commission_has_a_currency_of_its_own() -> None:
    got = record(v2("commission.created", {"promoter_id": 41, "amount": 500, "unit": "cash", "currency": "jpy"}))
    assert got["currency"] == "USD"
    assert got["last_reward"] == {"amount": "500", "unit": "cash", "currency": "JPY", "at": "2026-11-01T08:00:00Z"}


# ---------------------------------------------------------------- 6: fields that reached no path


def test_the_terms_of_a_membership_and_of_a_reward_reach_the_record() -> None:
    membership = {
        "id": 7,
        "campaign_id": 5,
        "customer_promo_code": "FRIEND",
        "target_reached_at": DAY(1),
        "current_offer": {"name": "5% discount coupon"},
        "current_referral_reward": {"name": "20% recurring", "per_of_sale": 20},
    }
    reward = {"amount": 200, "unit": "cash", "conversion_amount": 10000, "tier_level": 2}
    got = record(v1("reward_created", {"promoter": promoter(), "promotion": membership} | reward))
    terms = {
        "customer_promo_code": "FRIEND",
        "target_reached_at": "2026-11-01T08:00:00Z",
        "offer": "5% discount coupon",
        "commission_name": "20% recurring",
        "commission_percent": "20",
    }
    assert {path: got.get(path) for path in terms} == terms
    assert {path: got["campaigns"][0].get(path) for path in terms} == terms
    assert (got["last_reward"]["conversion_amount"], got["last_reward"]["tier_level"]) == ("100.00", 2)


def everflow(body: Body, topic: str) -> Body:
    source = Everflow("everflow", Everflow.Options(type="everflow", token=TOKEN))
    ((key, facts),) = fold(said(source, body, f"topic={topic}")).items()
    return told(key, facts)


def test_everflow_names_the_executive_the_traffic_source_and_who_decided() -> None:
    executive = {"first_name": "Eve", "last_name": "Exec", "email": "eve@net.example"}
    partner = {
        "network_affiliate_id": 7,
        "network_traffic_source_id": 5,
        "relationship": {"account_executive": executive},
    }
    got = everflow(partner, "partner_created")
    assert got["account_executive"] == {"name": "Eve Exec", "email": "eve@net.example"}
    assert got["traffic_source"] == "5"
    verdict = {"network_affiliate_id": 7, "new_status": "denied", "employee_full_name": "Bob", "timestamp": 1793606400}
    assert everflow(verdict, "partner_sign_up_verdict")["verdict"] == {"employee": "Bob", "at": "2026-11-02T08:00:00Z"}


def test_everflow_sign_up_fields_are_read_flat_and_related() -> None:
    fields = {
        "mailing_address": {"address_line_1": "1 Mill Rd", "city": "Ockham", "country_code": "GB"},
        "custom_field_values": [{"network_signup_custom_field_id": 701, "value": "Social"}],
        "promotional_information": [{"promotion_type": "blog", "promotion_description": "Reviews"}],
    }
    for sign_up in (fields, {"relationship": fields}):
        got = everflow({"network_affiliate_id": 7, "relationship": {"sign_up": sign_up}}, "partner_signed_up")
        assert got["address"] == {"line1": "1 Mill Rd", "city": "Ockham", "country": "GB"}
        assert got["custom"] == {"701": "Social"}
        assert got["signup"]["promotion"] == "blog: Reviews"


def test_everflow_words_that_are_not_known_are_unknown() -> None:
    for body in ({"account_status": "Frozen"}, {"new_status": "Frozen", "timestamp": 1793606400}):
        got = everflow({"network_affiliate_id": 7} | body, "partner_updated")
        assert (got["status"], got["source_status"]) == ("unknown", "Frozen")


# ---------------------------------------------------------------- 7: text from the web


@pytest.mark.parametrize(
    "sign", ["\u200b", "\ufeff", "\u2060", "\u00ad", "\u200e", "\u202c", "\u00a0", "\u3000", "\x00"]
)
def test_invisible_signs_are_no_part_of_an_address_a_phone_or_a_code(sign: str) -> None:
    profile = {
        "phone_number": f"{sign}+44 20 7183 8750{sign}",
        "first_name": f"{sign}Ada{sign}",
        "country": f"GB{sign}",
    }
    body = promoter(email=f"{sign}ada@example.com{sign}", default_ref_id=f"ada{sign}", profile=profile)
    got = record(v1("promoter_signed_up", {"promoter": body}))
    assert [got[path] for path in ("email", "phone", "first_name", "country", "ref_id")] == [
        "ada@example.com",
        "+44 20 7183 8750",
        "Ada",
        "GB",
        "ada",
    ]


def test_signs_inside_an_address_or_a_code_go_and_inside_a_name_they_stay() -> None:
    name = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # joined by a zero-width non-joiner
    body = promoter(email="a\u200bda@exam\u00adple.com", default_ref_id="a\u200bda", profile={"first_name": name})
    got = record(v1("promoter_signed_up", {"promoter": body}))
    assert [got[path] for path in ("email", "ref_id", "first_name")] == ["ada@example.com", "ada", name]


def test_control_characters_are_no_part_of_any_text() -> None:
    profile = {"company_name": "Ana\u0000lytical\u0007 Engines\u009f"}
    got = record(v1("lead_signup", {"promoter": promoter(status="we\u0000ird", profile=profile)}))
    assert (got["company"], got["source_status"]) == ("Analytical Engines", "weird")


def test_a_country_has_plain_spaces() -> None:
    got = record(v1("promoter_signed_up", {"promoter": promoter(profile={"country": "United\u00a0\u200bKingdom"})}))
    assert got["country"] == "United Kingdom"


# ---------------------------------------------------------------- 8: numbers


@pytest.mark.parametrize(
    "number", ["1e-999999999", "-1e-999999999", "1e999999999", "1e99999999999999999999", "9" * 5000]
)
@pytest.mark.parametrize("place", ["balance", "count", "reward", "custom", "id", "percent"])
def test_a_number_out_of_all_bounds_counts_as_missing(number: str, place: str) -> None:
    values: Body = dict.fromkeys(("balance", "count", "reward", "custom", "id", "percent"), 1)
    values[place] = "POISON"
    body = v1(
        "reward_created",
        {
            "promoter": promoter(current_balance={"cash": values["balance"]}, custom_fields={"x": values["custom"]}),
            "promotion": {
                "id": 7,
                "sales_count": values["count"],
                "campaign_id": values["id"],
                "current_referral_reward": {"per_of_sale": values["percent"]},
            },
            "amount": values["reward"],
            "unit": "points",
        },
    )
    source = firstpromoter()
    raw = json.dumps(body).replace('"POISON"', number).encode()
    ((key, facts),) = fold(said(source, raw)).items()
    got = told(key, facts)
    assert ("balances" in got) is (place != "balance")
    assert ("custom" in got) is (place != "custom")
    assert ("amount" in got["last_reward"]) is (place != "reward")
    assert len(repr(got)) < 2_000


@pytest.mark.parametrize("number", [b"1e-999999999", b"1e99999999999999999999", b"1e400", b"9" * 5000, b"NaN"])
@pytest.mark.parametrize("more", [b"", b',"id":41'])
def test_a_poisonous_number_in_an_answer_costs_only_itself(number: bytes, more: bytes) -> None:
    """Also where a key that is given twice makes the answer one that is repaired first."""
    rows = open_answer(b'[{"id":41,"n":%s%s},{"id":42}]' % (number, more), frozenset())
    assert [row["id"] for row in rows] == [41, 42]
    assert amount(rows[0]["n"]) is None
