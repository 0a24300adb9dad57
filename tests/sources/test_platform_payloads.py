"""Every body that Rewardful, Dub, Tolt, UpPromote and PartnerStack publish: the record that it makes.

The bodies are beside the checkout and are not copied into it; without them these tests are skipped. A body marked
TRUNCATED is good for what it shows only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.core.api_rows import listed
from connector.core.lenient import id_text, micros_of
from connector.core.source import Source
from connector.sources.dub.webhooks import Dub
from connector.sources.partnerstack.webhooks import PartnerStack
from connector.sources.rewardful.api import ROW as REWARDFUL_ROW
from connector.sources.rewardful.webhooks import Rewardful
from connector.sources.tolt.api import LINK_ROW, PARTNER_ROW
from connector.sources.tolt.webhooks import Tolt
from connector.sources.uppromote.api import ROW as UPPROMOTE_ROW
from connector.sources.uppromote.webhooks import UpPromote
from tests.sources.promises import RECEIVED, TOKEN, fold, request, told

PAYLOADS = Path(__file__).parents[3] / "shared" / "payloads" / "platforms"

pytestmark = pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the vendors' example bodies are not beside the checkout")

SOURCES: dict[str, Source] = {
    "rewardful": Rewardful("rewardful", Rewardful.Options(type="rewardful", token=TOKEN)),
    "dub": Dub("dub", Dub.Options(type="dub", token=TOKEN)),
    "tolt": Tolt("tolt", Tolt.Options(type="tolt", token=TOKEN)),
    "uppromote": UpPromote("uppromote", UpPromote.Options(type="uppromote", token=TOKEN)),
    "partnerstack": PartnerStack("partnerstack", PartnerStack.Options(type="partnerstack", token=TOKEN)),
}
NOBODY: dict[str, Any] = {}
"""An event that is not about an affiliate."""

EXPECTED: dict[str, dict[str, Any]] = {
    "rewardful-affiliate.confirmed.json": {
        "id": "rewardful:3433fffa-8255-4843-81b1-22aebc21eb34",
        "name": "James Bond",
        "email": "james@mi6.co.uk",
        "campaign": "Friends of Acme",
        "referral_link": "http://www.demo.com:8080/?via=james",
        "ref_id": "james",
        "stats": {"visitors": 42, "customers": 3},
        "created_at": "2019-06-24T00:43:36.097000Z",
        "last_event": {"type": "affiliate.confirmed", "at": "2019-07-11T05:25:43.940000Z"},
    },
    "dub-partner.enrolled.json": {
        "id": "dub:pn_1JRB6678XHGBZE95R5PH5QVGS",
        "name": "Asleep Pink Mammal",
        "email": "chosen.blush.barracuda@dub-internal-test.com",
        "country": "US",
        "status": "active",
        "source_status": "approved",
        "website": "https://example.com",
        "referral_link": "https://getacme.link/uvYO5pMIpctKdUVJlL3jIL4o",
        "ref_id": "uvYO5pMIpctKdUVJlL3jIL4o",
        "currency": "USD",
        "created_at": "2025-04-08T17:11:56.446000Z",
    },
    "dub-partner.application_submitted.json": {
        "id": "dub:pn_1K9BZE1K285BSTX4W6MPKXJFZ",
        "name": "Matthew Hayden",
        "status": "pending",
        "custom": {
            "Website": "https://example.com/",
            "How do you plan to promote Acme?": (
                "I'll promote Acme by sharing it on my social platforms and writing a blog post."
            ),
        },
    },
    "dub-commission.created.json": {
        "id": "dub:pn_1K06X6FX2GRB31NCM2VVCGJ72",
        "name": "Matthew Hayden",
        "stats": {"visitors": 50, "leads": 15, "customers": 10, "sales": 10, "sales_total": "1000.00"},
        "last_reward": {
            "amount": "100.00",
            "currency": "USD",
            "unit": "cash",
            "status": "pending",
            "at": "2025-07-16T10:48:14.722000Z",
        },
    },
    "dub-discount_code.created.json": {
        "id": "dub:pn_1K9BZE1K285BSTX4W6MPKXJFZ",
        "promo_code": "STEVEN10OFF",
        "coupons": [
            {"id": "dcode_1K39DGZG3MHY9RP4PD0AS2C5P", "code": "STEVEN10OFF", "status": "active", "discount": "10%"}
        ],
    },
    "dub-lead.created.json": {
        "id": "dub:pn_1JRB6678XHGBZE95R5PH5QVGS",
        "name": "John Smith",
        "email": "john@partner.com",
        "stats": {"visitors": 150, "leads": 25, "customers": 15, "sales": 10, "sales_total": "500.00"},
    },
    "dub-payout.confirmed.json": {
        "id": "dub:cm6v2l38p000zubyl5fly3i7w",
        "external_id": "64dc9a8c-5cf9-4446-b53b-cdc15199fafc",
        "status": "active",
        "last_payout": {
            "amount": "50.00",
            "currency": "USD",
            "status": "processing",
            "at": "2025-10-22T15:50:13.661000Z",
        },
    },
    "tolt-commission.created.json": {
        "id": "tolt:part_8fKq2LmZx7RtYw3nVbHc5dPj",
        "last_reward": {
            "amount": "9.80",
            "currency": "USD",
            "unit": "cash",
            "status": "pending",
            "at": "2026-03-01T12:00:00Z",  # its own time is months after the arrival that these tests pretend
        },
    },
    "tolt-partner.updated.TRUNCATED.json": {
        "id": "tolt:part_8fKq2LmZx7RtYw3nVbHc5dPj",
        "name": "Sam Rivera",
        "company": "Rivera Media",
        "email": "sam@riverastudio.com",
        "country": "US",
        "website": "https://riverastudio.com",
        "status": "active",
    },
    "tolt-partner.created-2025_help.TRUNCATED.json": {"id": "tolt:part_123", "name": "Jane Doe"},
    "uppromote-affiliate.new.TRUNCATED.json": {
        "id": "uppromote:2029238",
        "name": "Test 233",
        "email": "test233@gmail.com",
        "status": "inactive",
    },
    "uppromote-affiliate.status-changed.json": {"id": "uppromote:2029241", "status": "inactive"},
    "uppromote-payment.paid.json": {
        "id": "uppromote:2014227",
        "email": "test223@gmail.com",
        "last_payout": {"amount": "100.00", "currency": "USD", "status": "SUCCESS", "at": "2025-09-24T10:52:59Z"},
    },
    "uppromote-referral.new.TRUNCATED.json": NOBODY,
    "partnerstack-partnership_created.json": {
        "id": "partnerstack:123",
        "name": "John Smith",
        "ref_id": "JohnSmith",
        "campaign": "Top Sellers",
    },
    "partnerstack-agreement.accepted.TRUNCATED.json": NOBODY,
}


def body_of(name: str) -> bytes:
    return (PAYLOADS / name).read_bytes()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_published_webhook_makes_the_right_record(name: str) -> None:
    source = SOURCES[name.partition("-")[0]]
    topic = name.partition("-")[2].partition(".TRUNCATED")[0].removesuffix(".json")
    query = f"topic={topic}" if source.topics else ""
    known = fold(source.normalize(source.accept(request(body_of(name), query))))
    if EXPECTED[name] is NOBODY:
        assert known == {}
        return
    ((key, facts),) = known.items()
    got = told(key, facts)
    assert {path: got.get(path) for path in EXPECTED[name]} == EXPECTED[name]


def test_every_published_webhook_of_these_platforms_is_in_the_table() -> None:
    names = {path.name for path in PAYLOADS.glob("*.json") if path.name.partition("-")[0] in SOURCES}
    assert {name for name in names if "-api_" not in name} - {"dub-partner.merged.json"} == set(EXPECTED)


def test_the_published_merger_marks_the_one_and_keeps_the_other() -> None:
    known = fold(SOURCES["dub"].normalize(SOURCES["dub"].accept(request(body_of("dub-partner.merged.json")))))
    left, stays = (told(f"dub:{key}", known[f"dub:{key}"]) for key in (
        "pn_1K9BZE1K285BSTX4W6MPKXJFZ", "pn_1K06X6FX2GRB31NCM2VVCGJ72"
    ))  # fmt: skip
    assert (left["email"], left["merged_into"], left["status"]) == ("source@example.com", stays["id"], "inactive")
    assert (stays["email"], stays["external_id"]) == ("target@example.com", "64dc9a8c-5cf9-4446-b53b-cdc15199fafc")


def test_a_published_commission_of_rewardful_is_about_its_affiliate() -> None:
    for name, amount in (("rewardful-api_v1-commission_object-2020.json", "7.50"),):
        body = {
            "object": json.loads(body_of(name)),
            "event": {"id": "e-1", "type": "commission.created", "created_at": "2020-05-02T21:40:35.357Z"},
        }
        ((key, facts),) = fold(SOURCES["rewardful"].normalize(SOURCES["rewardful"].accept(request(body)))).items()
        got = told(key, facts)
        assert got["id"] == "rewardful:dc939584-a94a-4bdf-b8f4-8d255aae729c"
        assert (got["email"], got["campaign"]) == ("james@mi6.co.uk", "Friends of MI6")
        assert (got["last_reward"]["amount"], got["last_reward"]["currency"]) == (amount, "USD")
        assert got["stats"] == {"visitors": 153, "leads": 7, "customers": 6}


@pytest.mark.parametrize(
    ("name", "topic", "number", "expected"),
    [
        (
            "rewardful-api_v1-affiliate_object.json", REWARDFUL_ROW, None,
            {"status": "active", "campaign": "Best Friends of Kyle", "referral_link": "http://www.example.com/?via=adam",
             "promo_code": "CODE", "stats": {"visitors": 100, "leads": 42, "customers": 18}},
        ),
        ("tolt-api_v1-partner_retrieve.json", PARTNER_ROW, None, {"company": "Dunder Mifflin", "status": "active"}),
        ("tolt-api_v1-link_retrieve.json", LINK_ROW, "part_s7mbzRGn46BhVgNFHD6fDgXW", {"ref_id": "michael_scott"}),
        (
            "uppromote-api_v1-affiliates_list.TRUNCATED.json", UPPROMOTE_ROW, None,
            {"status": "active", "promo_code": "QSDFDSFASD", "campaign": "Prof. Granville Test",
             "referral_link": "https://yourdomain/home?sca_ref=310.uITkuLlOBB", "created_at": "2020-07-06T04:42:04Z"},
        ),
    ],
)  # fmt: skip
def test_a_published_row_of_an_api_makes_the_right_record(
    name: str, topic: str, number: str | None, expected: dict[str, Any]
) -> None:
    source = SOURCES[name.partition("-")[0]]
    row = json.loads(body_of(name))
    row = row.get("data", row)
    row = row[0] if isinstance(row, list) else row
    event = listed(source.name, topic, number or id_text(row["id"]), row, micros_of(RECEIVED), RECEIVED).event
    ((key, facts),) = fold(source.normalize(event)).items()
    got = told(key, facts)
    assert {path: got.get(path) for path in expected} == expected
    assert "paypal" not in repr(facts)
