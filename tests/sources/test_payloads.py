"""Every body that the vendors publish, as it stands: what it says, and that nothing secret stays.

The bodies lie beside the checkout and are not copied into it; without them these tests are skipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.core.facts import AffiliateUpdate
from connector.core.source import Source
from connector.core.view import view
from connector.sources.everflow.webhooks import Everflow
from connector.sources.firstpromoter.webhooks import FirstPromoter
from tests.sources.promises import TOKEN, fold, request, told

PAYLOADS = Path(__file__).parents[3] / "shared" / "payloads"
WEBHOOKS = sorted(path.name for path in PAYLOADS.glob("*.json") if "-api_" not in path.name)

pytestmark = pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the vendors' example bodies are not beside the checkout")

SOURCES: dict[str, Source] = {
    "firstpromoter": FirstPromoter("firstpromoter", FirstPromoter.Options(type="firstpromoter", token=TOKEN)),
    "everflow": Everflow("everflow", Everflow.Options(type="everflow", token=TOKEN)),
}
SECRETS = ("auth_token", "temp_password", "w8_form_url", "w9_form_url", "password_setup_url", "default_webhook_url")


def read(name: str, raw: bytes | None = None) -> list[AffiliateUpdate]:
    source = SOURCES[name.partition("-")[0]]
    return list(source.normalize(source.accept(request(raw or (PAYLOADS / name).read_bytes()))))


def record(*names: str) -> dict[str, Any]:
    ((key, facts),) = fold([update for name in names for update in read(name)]).items()
    return told(key, facts)


def some(got: dict[str, Any], *paths: str) -> list[Any]:
    return [got.get(path) for path in paths]


@pytest.mark.parametrize(
    ("name", "key", "topic", "at"),
    [
        ("firstpromoter-v1-lead_signup.json", "lead_signup:22736304", "lead_signup", 1727963120103000),
        ("firstpromoter-v1-new_customer.json", "new_customer:22737433", "new_customer", 1727965400887000),
        ("firstpromoter-v2-referral.updated.json", None, "referral.updated", 1737381605000000),
        ("everflow-new-partner_sign_up_verdict.json", None, "partner_sign_up_verdict", 1709500000000000),
        ("everflow-new-partner_signed_up.json", None, "partner_signed_up", 1709500000000000),
        ("everflow-new-partner_created.json", None, "partner_created", 1709500000000000),
    ],
)  # fmt: skip
def test_envelopes_are_opened(name: str, key: str | None, topic: str, at: int) -> None:
    event = SOURCES[name.partition("-")[0]].accept(request((PAYLOADS / name).read_bytes()))
    assert (event.topic, event.at) == (topic, at)
    if key:
        assert event.key == key


@pytest.mark.parametrize("name", ["promoter_signed_up", "lead_signup", "reward_created", "fulfilment_pending"])
def test_the_short_and_the_full_body_of_one_event_are_both_kept(name: str) -> None:
    """The inbox keeps one event a key; with the same key the fuller body would pass for a duplicate."""
    short, full = (
        SOURCES["firstpromoter"].accept(request((PAYLOADS / f"firstpromoter-v1-{name}{form}.json").read_bytes())).key
        for form in ("-short", "")
    )
    assert short == f"{full}:short"


def test_two_kinds_of_event_with_one_uuid_are_two_events() -> None:
    """The vendor's own v2 examples do that; with the UUID alone the second would pass for a duplicate."""
    keys = {
        SOURCES["firstpromoter"].accept(request((PAYLOADS / name).read_bytes())).key
        for name in WEBHOOKS
        if "-v2-" in name
    }
    assert len(keys) == 5


JANE = {
    "id": "firstpromoter:3920164",
    "source": "firstpromoter",
    "platform": "firstpromoter",
    "affiliate_id": "3920164",
    "status": "active",
    "source_status": "active",
    "email": "promoter@example.com",
    "first_name": "Jane",
    "last_name": "Smith",
    "name": "Jane Smith",
    "country": "US",
    "ref_id": "afpxunub",
    "referral_link": "https://www.example.com?_get=afpxunub",
    "campaign": "Main Campaign",
    "currency": "USD",
    "created_at": "2022-04-26T15:28:24.800000Z",
}


def test_lead_signup() -> None:
    got = record("firstpromoter-v1-lead_signup.json")
    counts = {
        "visitors": 2,
        "leads": 4,
        "customers": 3,
        "active_customers": 2,
        "refunds": 1,
        "cancellations": 1,
        "sales": 3,
    }
    money = {"sales_total": "2010.00", "refunds_total": "-10.00"}
    assert got == JANE | {
        "website": "https://janesmith.com",
        "offer": "5% discount coupon",
        "commission_name": "20% recurring commission",
        "commission_percent": "20",
        "campaigns": [
            {
                "id": "4210924",
                "name": "Main Campaign",
                "offer": "5% discount coupon",
                "offer_status": "offer_running",
                "commission_name": "20% recurring commission",
                "commission_percent": "20",
                "ref_id": "afpxunub",
                "referral_link": "https://www.example.com?_get=afpxunub",
                "campaign_id": "13202",
                **counts,
                **money,
            }
        ],
        "stats": counts | money,
        "balances": {"earned": {"cash": "507.44"}, "current": {"cash": "200.44"}, "paid": {"cash": "307.00"}},
        "last_lead": {"email": "goqucugo@mailinator.com", "state": "signup", "at": "2024-10-03T13:45:20.103000Z"},
        "updated_at": "2024-10-03T13:45:20.103000Z",
        "last_event": {"type": "lead_signup", "at": "2024-10-03T13:45:20.103000Z"},
    }


def test_lead_becomes_referral_under_both_names() -> None:
    names = ["firstpromoter-v1-lead_becomes_referral.json", "firstpromoter-v1-new_customer.json"]
    one, other = record(names[0]), record(names[1])
    got = record(*names)
    assert got == record(*reversed(names))
    plans = {one["last_lead"].pop("plan", None), other["last_lead"].pop("plan", None)}
    assert one == other
    assert got["last_lead"].pop("plan") in plans  # one of the two bodies names it, and that is not lost
    assert got == one
    assert {path: got[path] for path in JANE} == JANE
    assert got["balances"] == {"earned": {"cash": "527.44"}, "current": {"cash": "220.44"}, "paid": {"cash": "307.00"}}
    assert got["stats"]["sales_total"] == "2110.00"
    assert got["last_lead"]["state"] == "active"


def test_a_leads_whole_life_in_any_order() -> None:
    names = [
        f"firstpromoter-v1-{name}.json"
        for name in ("lead_signup", "lead_becomes_referral", "new_customer", "lead_cancelled", "lead_signup-short")
    ]
    got = record(*names)
    assert got == record(*reversed(names)) == record(*names, *names)
    assert got["last_lead"] == {
        "email": "customer@example.com",
        "state": "cancelled",
        "customer_since": "2024-10-03T14:23:20.495000Z",
        "at": "2024-10-04T09:15:42.123000Z",
    }
    assert some(got["stats"], "active_customers", "cancellations") == [2, 2]
    assert got["website"] == "https://janesmith.com"  # later bodies have it blank, which says nothing


@pytest.mark.parametrize("name", ["promoter_signed_up", "promoter_signed_up-short"])
def test_promoter_signed_up(name: str) -> None:
    got = record(f"firstpromoter-v1-{name}.json")
    assert some(got, "id", "status", "email", "name", "company", "website", "country") == [
        "firstpromoter:9000800",
        "pending",
        "newaffiliate@example.com",
        "Jane Smith",
        "Smith Media",
        "https://www.janesmith.com",
        "US",
    ]
    assert some(got, "ref_id", "referral_link", "campaign") == [
        "cx2mn",
        "https://www.example.com?_get=cx2mn",
        "Main Campaign",
    ]
    assert got.get("socials", {}) in ({}, {"twitter": "https://twitter.com/janesmith"})
    assert "balances" not in got


def test_promoter_accepted() -> None:
    got = record("firstpromoter-v1-promoter_accepted.json")
    assert some(got, "id", "status", "name", "company", "country", "ref_id") == [
        "firstpromoter:9000754",
        "active",
        "Cooper Faulkner",
        "Faulkner Media",
        "AU",
        "myrefid",
    ]
    assert some(got["campaigns"][0], "id", "campaign_id", "name", "status", "offer_status", "accepted_at") == [
        "11027468",
        "13202",
        "Main Campaign",
        "accepted",
        "offer_running",
        "2024-10-03T11:57:31.228000Z",
    ]


@pytest.mark.parametrize("name", ["reward_created", "reward_created-short"])
def test_reward_created(name: str) -> None:
    got = record(f"firstpromoter-v1-{name}.json")
    assert got["id"] == "firstpromoter:5779418"
    assert got["balances"] == {"earned": {"cash": "42.00"}, "current": {"cash": "42.00"}}
    assert got["last_reward"] == {
        "amount": "2.00",
        "unit": "cash",
        "status": "approved",
        "conversion_amount": "100.00",
        "tier_level": 1,
        "at": "2024-10-03T14:23:20.791000Z",
    }
    assert got["referral_link"] == "https://www.example.com?_get=myrefid"
    assert "last_lead" not in got


@pytest.mark.parametrize("name", ["fulfilment_pending", "fulfilment_pending-short"])
def test_fulfilment_pending(name: str) -> None:
    got = record(f"firstpromoter-v1-{name}.json")
    assert got["id"] == "firstpromoter:5272969"
    assert got["balances"]["current"]["free_months"] == 3
    assert got["last_reward"] == {
        "amount": "3",
        "unit": "free_months",
        "status": "pending",
        "at": "2023-08-23T11:06:02.663000Z",
    }
    assert some(got["campaigns"][0], "id", "name", "campaign_id") == ["campaign:17476", "Campaign Name", "17476"]


def test_v2_promoter_created_then_a_signed_contract() -> None:
    got = record("firstpromoter-v2-promoter.created.json", "firstpromoter-v2-contract_document.signed.json")
    assert got == {
        "id": "firstpromoter:12345",
        "source": "firstpromoter",
        "platform": "firstpromoter",
        "affiliate_id": "12345",
        "email": "jane@example.com",
        "first_name": "Jane",
        "last_name": "Smith",
        "name": "Jane Smith",
        "website": "https://janesmith.com",
        "country": "US",
        "external_id": "cus_abc123",
        "currency": "USD",
        "created_at": "2025-01-15T10:30:00Z",
        "updated_at": "2025-01-22T08:45:03Z",
        "last_event": {"type": "contract_document.signed", "at": "2025-01-22T08:45:03Z"},
    }


@pytest.mark.parametrize("name", ["commission.created-nonmonetary", "commission.updated", "referral.updated"])
def test_v2_what_names_no_promoter_is_about_no_affiliate(name: str) -> None:
    assert read(f"firstpromoter-v2-{name}.json") == []


def test_partner_created() -> None:
    got = record("everflow-new-partner_created.json")
    assert some(got, "id", "status", "email", "name", "company", "phone", "country", "currency", "labels") == [
        "everflow:456",
        "active",
        "jane@agency.com",
        "Jane Affiliate",
        "Performance Agency LLC",
        "+1-555-2234",
        "US",
        "USD",
        ["tier1", "mobile"],
    ]
    assert got["manager"] == {"name": "Bob Handler", "email": "bob@network.com"}
    assert got["address"] == {
        "line1": "456 Partner Ave",
        "city": "San Francisco",
        "region": "CA",
        "postal_code": "94105",
        "country": "US",
    }


def test_a_sign_up_and_its_verdict_of_the_same_second_in_any_order() -> None:
    names = ["everflow-new-partner_signed_up.json", "everflow-new-partner_sign_up_verdict.json"]
    assert record(names[0])["status"] == "pending"
    got = record(*names)
    assert got == record(*reversed(names))
    assert some(got, "id", "status", "email", "company", "website") == [
        "everflow:457",
        "active",
        "tom@newpartner.com",
        "New Partner Co",
        "https://newpartner.com",
    ]
    assert got["custom"] == {"701": "Social Media"}


def test_the_older_shape() -> None:
    got = record("everflow-api_v1-affiliate_by_id.TRUNCATED.json")
    assert some(got, "id", "status", "email", "name", "company", "phone") == [
        "everflow:7",
        "active",
        "bob.smith@example.com",
        "Bob Smith",
        "Some Agency Inc.",
        "4858555836",
    ]
    assert got["manager"] == {"name": "John Doe", "email": "john.doe@example.com"}


def test_a_row_of_the_list_of_promoters_reads_like_a_webhook() -> None:
    row = json.loads((PAYLOADS / "firstpromoter-api_v1-promoters_list.json").read_text())[0]
    body = {"event": {"id": 1, "type": "promoter_listed"}, "data": {"promoter": row}}
    (update,) = read("firstpromoter-api", json.dumps(body).encode())
    got = told(update.record_id, update.facts)
    assert some(got, "id", "status", "email", "ref_id", "campaign") == [
        "firstpromoter:8815216",
        "active",
        "mintly@mailinator.com",
        "heubv",
        "Make Campaign",
    ]


@pytest.mark.parametrize("name", WEBHOOKS)
def test_no_secret_of_a_body_stays(name: str) -> None:
    source = SOURCES[name.partition("-")[0]]
    value = json.loads((PAYLOADS / name).read_bytes())
    event = source.accept(request(value))
    kept = json.loads(event.body)
    secrets: list[str] = []

    def strip(node: Any) -> Any:
        if isinstance(node, dict):
            secrets.extend(str(node[key]) for key in node if key in SECRETS and node[key])
            return {key: strip(inner) for key, inner in node.items() if key not in SECRETS}
        return [strip(inner) for inner in node] if isinstance(node, list) else node

    assert kept == strip(value)  # nothing else is missing
    updates = source.normalize(event)
    for secret in secrets:
        assert secret not in event.body.decode()
        assert secret not in repr(updates)
    for update in updates:
        view(update.record_id, update.facts)
