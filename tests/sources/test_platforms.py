"""Rewardful, Dub, Tolt, UpPromote and PartnerStack: each keeps the promises, and says what its bodies say."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from connector.core.errors import Forged, UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.platform_api import NotReadable
from connector.core.source import InboundRequest, NoEvent, Source, accepted_status
from connector.sources.dub.webhooks import Dub
from connector.sources.partnerstack.webhooks import PartnerStack
from connector.sources.rewardful.webhooks import Rewardful
from connector.sources.tolt.webhooks import Tolt
from connector.sources.uppromote.webhooks import STATUS, TOPICS, UpPromote
from tests.sources.promises import RECEIVED, TOKEN, Body, SourcePromises, fold, read, request, told

CLASSES: dict[str, Any] = {
    "rewardful": Rewardful,
    "dub": Dub,
    "tolt": Tolt,
    "uppromote": UpPromote,
    "partnerstack": PartnerStack,
}
SIGNING_SECRET = "signing-secret-0123456789"
SVIX_SECRET = "whsec_" + b64encode(b"tests-only-key-of-24-byte").decode()


def build(name: str, **options: Any) -> Source:
    made = CLASSES[name]
    source: Source = made(name, made.Options.model_validate({"type": name, "token": TOKEN} | options))
    return source


def record(name: str, *bodies: tuple[Body, str]) -> dict[str, Any]:
    """The one record that *bodies* (with their queries) make."""
    source = build(name)
    ((key, facts),) = fold([update for body, query in bodies for update in read(source, body, query)]).items()
    return told(key, facts)


@pytest.mark.parametrize("name", ["rewardful", "dub", "tolt", "uppromote"])
def test_a_body_that_a_bug_leaves_unopened_is_kept_without_what_is_private(name: str) -> None:
    # The program drops the keys in ``secrets`` itself then; a source without them would have all of it kept.
    assert CLASSES[name].secrets == importlib.import_module(f"connector.sources.{name}.webhooks").SECRETS


# ---------------------------------------------------------------- bodies of our own


def rewardful(kind: str, thing: Body, *, number: int = 1, at: str = "2026-02-01T10:00:00.000Z") -> Body:
    event = {"id": f"0f3e-{number}", "type": kind, "created_at": at, "api_version": "v1"}
    return {"object": thing, "event": event, "request": {"id": "r"}}


def rewardful_affiliate(**more: Any) -> Body:
    return {
        "id": "d0ed-1",
        "first_name": "Ada",
        "last_name": "King",
        "email": "ada@engines.example",
        "state": "active",
        "created_at": "2026-01-01T08:00:00.000Z",
        "visitors": 100,
        "leads": 42,
        "conversions": 18,
        "campaign": {"id": "c-1", "name": "Friends"},
        "links": [{"id": "l-1", "url": "https://x.example/?via=ada", "token": "ada", "visitors": 100, "leads": 42}],
        "coupon": {"id": "k-1", "token": "ADA10", "leads": 2, "conversions": 1},
    } | more


def rewardful_bodies() -> list[tuple[Body, str]]:
    person = rewardful_affiliate()
    named = {key: value for key, value in person.items() if key != "state"}  # as sales and referrals name it
    money = {
        "id": "m-1", "amount": 750, "currency": "JPY", "state": "due", "created_at": "2026-02-03T10:00:00Z",
        "sale": {"id": "s-1", "referral": {"id": "r-1", "affiliate": named | {"visitors": 101}}},
    }  # fmt: skip
    return [
        (rewardful("affiliate.created", person), ""),
        (rewardful("affiliate.updated", person | {"state": "disabled"}, number=2, at="2026-02-02T10:00:00Z"), ""),
        (rewardful("commission.created", money, number=3, at="2026-02-03T10:00:00Z"), ""),
        (rewardful("affiliate_link.created", {"id": "l-2", "url": "https://y.example", "token": "ada2",
                   "affiliate_id": "d0ed-1"}, number=4, at="2026-02-04T10:00:00Z"), ""),
        (rewardful("referral.lead", {"id": "r-1", "conversion_state": "lead", "created_at": "2026-02-05T10:00:00Z",
                   "customer": {"email": "b@lead.example"}, "affiliate": named}, number=5,
                   at="2026-02-05T10:00:00Z"), ""),
    ]  # fmt: skip


def dub(kind: str, data: Body, *, number: int = 1, at: str = "2026-02-01T10:00:00.000Z") -> Body:
    return {"id": f"evt_{number}", "event": kind, "createdAt": at, "data": data}


def dub_partner(**more: Any) -> Body:
    return {
        "id": "pn_1",
        "name": "Ada King",
        "email": "ada@engines.example",
        "companyName": "Engines",
        "country": "GB",
        "status": "approved",
        "twitter": "ada",
        "createdAt": "2026-01-01T08:00:00.000Z",
        "totalClicks": 50,
        "totalSaleAmount": 100000,
        "totalCommissions": 50000,
        "links": [{"id": "link_1", "key": "ada", "shortLink": "https://go.example/ada", "clicks": 50, "saleAmount": 5}],
    } | more


def dub_bodies() -> list[tuple[Body, str]]:
    commission = {
        "id": "cm_1", "earnings": -500, "amount": 2500, "currency": "eur", "status": "pending",
        "createdAt": "2026-02-03T10:00:00Z", "partner": {"id": "pn_1", "name": "Ada King", "totalClicks": 51},
    }  # fmt: skip
    code = {
        "id": "dc_1", "code": "ADA10", "partnerId": "pn_1", "disabledAt": None,
        "discount": {"amount": 10, "type": "percentage"},
    }  # fmt: skip
    asked = {
        "id": "pga_1", "partner": dub_partner(status="pending"),
        "applicationFormData": [{"label": "How?", "value": "A newsletter"}],
    }  # fmt: skip
    return [
        (dub("partner.application_submitted", asked), ""),
        (dub("partner.enrolled", dub_partner(), number=1, at="2026-02-02T10:00:00Z"), ""),
        (dub("commission.created", commission, number=2, at="2026-02-03T10:00:00Z"), ""),
        (dub("discount_code.created", code, number=3, at="2026-02-04T10:00:00Z"), ""),
    ]


def tolt(kind: str, data: Body, *, at: str = "2026-02-01T10:00:00.000Z") -> Body:
    return {"type": kind, "data": data, "timestamp": at}


def tolt_bodies() -> list[tuple[Body, str]]:
    partner = {
        "id": "part_1", "status": "pending", "first_name": "Ada", "last_name": "King", "company_name": "Engines",
        "email": "ada@engines.example", "country_code": "GB", "created_at": "2026-01-01T08:00:00Z",
        "custom_fields": [{"question": "Where?", "answer": "A blog"}],
    }  # fmt: skip
    return [
        (tolt("partner.created", partner), ""),
        (tolt("partner.updated", partner | {"status": "suspended"}, at="2026-02-02T10:00:00Z"), ""),
        (tolt("link.created", {"id": "lnk_1", "param": "via", "value": "ada", "partner_id": "part_1"},
              at="2026-02-03T10:00:00Z"), ""),
        (tolt("commission.created", {"id": "comm_1", "amount": "980", "currency": "usd", "status": "pending",
              "partner_id": "part_1"}, at="2026-02-04T10:00:00Z"), ""),
    ]  # fmt: skip


def uppromote_affiliate(**more: Any) -> Body:
    return {
        "id": 41,
        "email": "ada@engines.example",
        "first_name": "Ada",
        "status": "pending",
        "default_affiliate_link": "https://shop.example/?sca_ref=41",
        "program_id": 7,
        "program_name": "Standard",
        "custom_fields": [{"label": "Where?", "value": "A blog", "key": "x"}],
        "coupons": [{"id": 10, "coupon": "ADA10"}],
        "paid_amount": "85.00",
        "approved_amount": 40.5,
        "created_at": "2026-01-01T08:00:00Z",
    } | more


def uppromote_bodies() -> list[tuple[Body, str]]:
    paid = {
        "payment_id": 1, "affiliate_id": 41, "affiliate_email": "ada@engines.example", "status": "SUCCESS",
        "total_processed": 100, "processed_at": "2026-02-02T10:00:00Z",
    }  # fmt: skip
    return [
        (uppromote_affiliate(), "topic=affiliate.new"),
        ({"affiliate_id": 41, "previous_status": "pending", "current_status": "active"}, f"topic={STATUS}"),
        (paid, "topic=payment.paid"),
        ({"id": 5, "order_id": 6, "affiliate_id": 41, "total_sales": "0.00"}, "topic=referral.new"),
    ]


def partnerstack_bodies() -> list[tuple[Body, str]]:
    partner = {
        "id": 123, "partner_key": "ada", "first_name": "Ada", "last_name": "King", "email": "ada@engines.example",
        "group": {"id": 22, "name": "Top", "slug": "top"}, "archived": "false", "event": "partnership_created",
    }  # fmt: skip
    return [(partner, ""), (partner | {"event": "partnership.updated", "partner_key": "ada-king"}, "")]


class TestRewardfulKeepsThePromises(SourcePromises):
    secret_keys: ClassVar[Sequence[str]] = ("paypal_email", "wise_email", "paypal_email_confirmed_at")

    def build(self, options: dict[str, Any]) -> Source:
        return Rewardful("rewardful", Rewardful.Options.model_validate({"type": "rewardful", **options}))

    def bodies(self) -> Sequence[tuple[Body, str]]:
        return rewardful_bodies()


class TestDubKeepsThePromises(SourcePromises):
    secret_keys: ClassVar[Sequence[str]] = ("paypalEmail", "stripeConnectId", "customer", "click", "password")

    def build(self, options: dict[str, Any]) -> Source:
        return Dub("dub", Dub.Options.model_validate({"type": "dub", **options}))

    def bodies(self) -> Sequence[tuple[Body, str]]:
        return dub_bodies()


class TestToltKeepsThePromises(SourcePromises):
    secret_keys: ClassVar[Sequence[str]] = ("payout_method", "payout_details")

    def build(self, options: dict[str, Any]) -> Source:
        return Tolt("tolt", Tolt.Options.model_validate({"type": "tolt", **options}))

    def bodies(self) -> Sequence[tuple[Body, str]]:
        return tolt_bodies()


class TestUpPromoteKeepsThePromises(SourcePromises):
    secret_keys: ClassVar[Sequence[str]] = ("payment_info", "payment_method", "vat_number", "internal_note")

    def build(self, options: dict[str, Any]) -> Source:
        return UpPromote("uppromote", UpPromote.Options.model_validate({"type": "uppromote", **options}))

    def bodies(self) -> Sequence[tuple[Body, str]]:
        return uppromote_bodies()

    def test_what_is_not_the_platforms_envelope_is_unreadable(self) -> None:
        strangers: Sequence[object] = ({}, {"hello": "world"}, {"data": {}}, [], "text", 1, None, b"x")
        for body in strangers:
            with pytest.raises(Unreadable):
                self.source.accept(request(body))
        with pytest.raises(NoEvent):  # the first call to a new URL
            self.source.accept(request(b""))


class TestPartnerStackKeepsThePromises(SourcePromises):
    secret_keys: ClassVar[Sequence[str]] = ()

    def build(self, options: dict[str, Any]) -> Source:
        return PartnerStack("partnerstack", PartnerStack.Options.model_validate({"type": "partnerstack", **options}))

    def bodies(self) -> Sequence[tuple[Body, str]]:
        return partnerstack_bodies()


# ---------------------------------------------------------------- what they say


def test_a_rewardful_affiliate_in_all_parts() -> None:
    got = record("rewardful", *rewardful_bodies())
    assert got["status"] == "blocked"
    assert got["source_status"] == "disabled"
    assert got["campaign"] == "Friends"
    assert got["referral_link"] == "https://x.example/?via=ada"
    assert got["promo_code"] == "ADA10"
    assert [link["id"] for link in got["links"]] == ["l-1"]  # the later, complete list of the referral has no l-2
    assert got["stats"] == {"visitors": 100, "leads": 42, "customers": 18}
    assert got["last_reward"] == {
        "amount": "750", "currency": "JPY", "unit": "cash", "status": "due", "at": "2026-02-03T10:00:00Z"
    }  # fmt: skip
    assert got["last_lead"] == {"email": "b@lead.example", "state": "lead", "at": "2026-02-05T10:00:00Z"}


def test_a_link_that_was_made_or_deleted_is_told_by_its_own_event() -> None:
    made = rewardful("affiliate_link.created", {"id": "l-2", "url": "https://y.example", "token": "two",
                     "affiliate_id": "d0ed-1"}, number=8, at="2026-03-01T10:00:00Z")  # fmt: skip
    gone = rewardful("affiliate_link.deleted", {"id": "l-1", "affiliate_id": "d0ed-1"}, number=9,
                     at="2026-03-01T11:00:00Z")  # fmt: skip
    first = rewardful("affiliate.created", rewardful_affiliate())
    assert [link["id"] for link in record("rewardful", (first, ""), (made, ""))["links"]] == ["l-1", "l-2"]
    got = record("rewardful", (gone, ""), (made, ""), (first, ""))
    assert [link["id"] for link in got["links"]] == ["l-2"]
    assert got["referral_link"] == "https://y.example"


def test_a_deleted_rewardful_affiliate_is_gone_and_a_moved_one_has_its_new_campaign() -> None:
    person = rewardful("affiliate.created", rewardful_affiliate())
    gone = rewardful("affiliate.deleted", {"id": "d0ed-1"}, number=2, at="2026-02-09T10:00:00Z")
    assert record("rewardful", (gone, ""), (person, ""))["gone_at"] == "2026-02-09T10:00:00Z"
    moved = rewardful("affiliate.updated", rewardful_affiliate(campaign={"id": "c-2", "name": "VIP"}), number=3,
                      at="2026-02-08T10:00:00Z")  # fmt: skip
    got = record("rewardful", (moved, ""), (person, ""))
    assert got["campaign"] == "VIP"
    assert [campaign["id"] for campaign in got["campaigns"]] == ["c-2"]


@pytest.mark.parametrize("step", ["deleted", "deactivated"])
def test_a_rewardful_coupon_that_was_switched_off_or_replaced_is_not_shown(step: str) -> None:
    old, new = (
        {"id": number, "token": code, "affiliate_id": "d0ed-1"} for number, code in (("a", "OLD"), ("z", "NEW"))
    )
    person = rewardful("affiliate.created", rewardful_affiliate(coupon=old))
    off = rewardful(f"affiliate_coupon.{step}", old, number=2, at="2026-02-08T10:00:00Z")
    assert record("rewardful", (off, ""), (person, "")).get("promo_code") is None
    moved = rewardful("affiliate.updated", rewardful_affiliate(coupon=new), number=3, at="2026-02-08T10:00:00Z")
    got = record("rewardful", (moved, ""), (person, ""))
    assert (got["promo_code"], [coupon["id"] for coupon in got["coupons"]]) == ("NEW", ["z"])


def test_what_dub_empties_is_empty() -> None:
    before = dub("partner.enrolled", dub_partner(tags=[{"name": "VIP"}], totalCommissions=700))
    after = dub("partner.enrolled", dub_partner(tags=[], totalCommissions=None), number=2, at="2026-02-08T10:00:00Z")
    assert record("dub", (before, ""))["labels"] == ["VIP"]
    got = record("dub", (after, ""), (before, ""))
    assert "labels" not in got
    assert got["balances"]["earned"]["cash"] == "0.00"


def test_a_dub_partner_in_all_parts() -> None:
    got = record("dub", *dub_bodies())
    assert got["status"] == "active"
    assert got["name"] == "Ada King"
    assert got["socials"] == {"twitter": "https://x.com/ada"}
    assert got["custom"] == {"How?": "A newsletter"}
    assert got["stats"] == {"visitors": 51, "sales_total": "1000.00"}
    assert got["balances"]["earned"]["cash"] == "500.00"
    assert got["links"] == [
        {"id": "link_1", "url": "https://go.example/ada", "token": "ada", "visitors": 50, "sales_total": "0.05"}
    ]
    assert got["coupons"] == [{"id": "dc_1", "code": "ADA10", "status": "active", "discount": "10%"}]
    assert got["last_reward"]["amount"] == "-5.00"  # a claw-back
    assert got["last_reward"]["currency"] == "EUR"


def test_one_id_of_two_kinds_of_events_is_two_events_in_dub() -> None:
    keys = {build("dub").accept(request(body)).key for body, _ in dub_bodies()[:2]}
    assert len(keys) == 2


def test_a_merged_dub_partner_is_marked_and_its_target_stays() -> None:
    merged = dub("partner.merged", {"sourcePartner": {"id": "pn_1", "email": "old@x.example"},
                 "targetPartner": {"id": "pn_2", "email": "new@x.example"}}, number=9,
                 at="2026-03-01T10:00:00Z")  # fmt: skip
    source = build("dub")
    known = fold([*read(source, merged), *read(source, dub_bodies()[1][0])])
    left, stays = told("dub:pn_1", known["dub:pn_1"]), told("dub:pn_2", known["dub:pn_2"])
    assert (left["merged_into"], left["status"], left["gone_at"]) == ("dub:pn_2", "inactive", "2026-03-01T10:00:00Z")
    assert stays["email"] == "new@x.example"
    assert "gone_at" not in stays


def test_a_dub_lead_that_nobody_referred_is_about_nobody_and_keeps_no_third_person() -> None:
    lead = dub("lead.created", {"customer": {"email": "CANARY"}, "click": {"ip": "CANARY"}, "partner": None,
               "link": {"id": "l", "password": "CANARY", "partnerId": None}})  # fmt: skip
    event = build("dub").accept(request(lead))
    assert b"CANARY" not in event.body
    assert list(build("dub").normalize(event)) == []


def test_a_tolt_partner_in_all_parts() -> None:
    got = record("tolt", *tolt_bodies())
    assert (got["status"], got["source_status"]) == ("blocked", "suspended")
    assert got["custom"] == {"Where?": "A blog"}
    assert got["links"] == [{"id": "lnk_1", "token": "ada"}]
    assert got["ref_id"] == "ada"
    assert got["last_reward"] == {
        "amount": "9.80", "currency": "USD", "unit": "cash", "status": "pending", "at": "2026-02-04T10:00:00Z"
    }  # fmt: skip


def test_links_are_in_the_order_in_which_they_were_made_not_in_that_of_their_ids() -> None:
    def link(number: str, token: str, made: str) -> tuple[Body, str]:
        said = {"id": number, "value": token, "partner_id": "part_1", "created_at": made}
        return tolt("link.created", said, at="2026-02-03T10:00:00Z"), ""

    older, newer = link("lnk_z", "first", "2026-01-01T00:00:00Z"), link("lnk_a", "second", "2026-01-02T00:00:00Z")
    for bodies in ((older, newer), (newer, older)):
        got = record("tolt", *bodies)
        assert [each["token"] for each in got["links"]] == ["first", "second"]
        assert got["ref_id"] == "first"


def test_an_uppromote_affiliate_in_all_parts() -> None:
    got = record("uppromote", uppromote_bodies()[0])
    assert got["referral_link"] == "https://shop.example/?sca_ref=41"
    assert got["campaign"] == "Standard"
    assert got["promo_code"] == "ADA10"
    assert got["custom"] == {"Where?": "A blog"}
    assert got["balances"] == {"current": {"cash": "40.50"}, "paid": {"cash": "85.00"}}
    assert got["currency"] == "USD"
    assert record("uppromote", uppromote_bodies()[2])["last_payout"] == {
        "amount": "100.00", "currency": "USD", "status": "SUCCESS", "at": "2026-02-02T10:00:00Z"
    }  # fmt: skip
    older = uppromote_affiliate(status=1, affiliate_link="https://a.example", created_at_timestamp=1594010524)
    del older["default_affiliate_link"], older["created_at"]
    got = record("uppromote", (older, ""))
    assert (got["status"], got["referral_link"]) == ("active", "https://a.example")
    assert got["created_at"] == "2020-07-06T04:42:04Z"


def test_equal_bodies_of_uppromote_are_changes_of_their_own_in_the_order_of_arrival() -> None:
    """Active, inactive, active, inactive: the first and the third body are equal, the second and the fourth, too."""
    source = build("uppromote")
    updates: list[AffiliateUpdate] = []
    keys: set[str] = set()
    for number, word in enumerate(("active", "inactive", "active", "inactive")):
        body = {"affiliate_id": 41, "previous_status": "inactive" if word == "active" else "active"}
        inbound = InboundRequest(
            (), f"token={TOKEN}&topic={STATUS}".encode(), json.dumps(body | {"current_status": word}).encode(),
            RECEIVED + timedelta(seconds=number),
        )  # fmt: skip
        event = source.accept(inbound)
        keys.add(event.key)
        updates += source.normalize(event)
    assert len(keys) == 4
    for order in (updates, updates[::-1]):
        ((key, facts),) = fold(order).items()
        assert told(key, facts)["status"] == "inactive"


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_amount_of_uppromote_that_is_there_and_empty_is_zero(nothing: object) -> None:
    source = build("uppromote")
    updates: list[AffiliateUpdate] = []
    for number, amount in enumerate(("12.50", nothing)):
        inbound = request(uppromote_affiliate(approved_amount=amount), "topic=affiliate.new")
        updates += source.normalize(source.accept(replace(inbound, received_at=RECEIVED + timedelta(seconds=number))))
    for order in (updates, updates[::-1]):
        ((key, facts),) = fold(order).items()
        assert told(key, facts)["balances"]["current"]["cash"] == "0.00"


@pytest.mark.parametrize(
    ("written", "amount"), [("1,307.00", "1307.00"), ("-12,345,678.5", "-12345678.50"), (307, "307.00")]
)
def test_an_amount_of_uppromote_may_have_its_thousands_apart(written: object, amount: str) -> None:
    got = record("uppromote", (uppromote_affiliate(paid_amount=written), "topic=affiliate.new"))
    assert got["balances"]["paid"]["cash"] == amount


def test_each_event_of_uppromote_has_a_url_of_its_own_and_the_shape_decides_what_it_says() -> None:
    assert set(UpPromote.topics) == set(TOPICS)
    changed = {"affiliate_id": 41, "previous_status": "active", "current_status": "inactive"}
    for query in ("", "topic=affiliate.new", f"topic={STATUS}"):
        ((_, facts),) = fold(read(build("uppromote"), changed, query)).items()
        assert facts["status"][2] == "inactive"


def test_uppromotes_empty_first_call_wants_the_token_where_there_is_one() -> None:
    with pytest.raises(NoEvent):
        build("uppromote", signing_secrets=[SIGNING_SECRET], require_signature=True).accept(request(b" "))
    with pytest.raises(Forged):
        build("uppromote").accept(request(b"", token="wrong"))


def test_a_partnership_of_partnerstack() -> None:
    got = record("partnerstack", partnerstack_bodies()[0])
    assert got["id"] == "partnerstack:123"
    assert (got["name"], got["campaign"], got["ref_id"]) == ("Ada King", "Top", "ada")
    assert "gone_at" not in got
    for change in ({"archived": "true"}, {"archived": True}, {"event": "partnership_deleted"}):
        body = partnerstack_bodies()[0][0] | change
        assert "gone_at" in record("partnerstack", (body, "")), change
    agreement = {"event": "agreement.accepted", "team": {"key": "stck_1"}, "approved": True}
    assert list(read(build("partnerstack"), agreement)) == []
    with pytest.raises(UnknownShape):
        read(build("partnerstack"), {"event": "partnership_created", "partner_key": "ada"})
    with pytest.raises(NotReadable, match="by webhook only"):
        PartnerStack("p", PartnerStack.Options(type="partnerstack", token=TOKEN)).listing()


@pytest.mark.parametrize("name", ["rewardful", "dub", "tolt", "partnerstack"])
def test_the_type_of_an_event_is_short_and_printable(name: str) -> None:
    # It is a key in the store and a word in the log: PostgreSQL takes neither NUL nor thousands of characters there.
    bodies = {"rewardful": "event.type", "dub": "event", "tolt": "type", "partnerstack": "event"}

    def with_type(kind: str) -> Body:
        if name == "rewardful":
            return rewardful(kind, rewardful_affiliate())
        sample: Body = dub("", dub_partner()) if name == "dub" else {"data": {}, "id": 1}
        return sample | {bodies[name]: kind}

    assert build(name).accept(request(with_type(" a.b\u0000\u200b "))).topic == "a.b"
    for wrong in ("x" * 101, "a\nb"):
        with pytest.raises(Unreadable):
            build(name).accept(request(with_type(wrong)))


@pytest.mark.parametrize("name", CLASSES)
def test_an_unknown_word_for_the_status_is_unknown_with_the_platforms_word(name: str) -> None:
    if name == "partnerstack":
        pytest.skip("its webhooks have no status")
    bodies = {
        "rewardful": (rewardful("affiliate.updated", rewardful_affiliate(state="Dormant")), ""),
        "dub": (dub("partner.enrolled", dub_partner(status="Dormant")), ""),
        "tolt": (tolt("partner.updated", {"id": "part_1", "status": "Dormant"}), ""),
        "uppromote": (uppromote_affiliate(status="Dormant"), ""),
    }
    got = record(name, bodies[name])
    assert (got["status"], got["source_status"]) == ("unknown", "Dormant")


def test_what_a_commission_lacks_is_not_read_off_the_one_before() -> None:
    def commission(amount: object, at: str, **more: object) -> Body:
        return tolt("commission.created", {"id": at, "partner_id": "part_1", "amount": amount} | more, at=at)

    first = commission("980", "2026-02-01T10:00:00Z", currency="usd", status="paid")
    for later in (commission("NaN", "2026-02-02T10:00:00Z", currency="eur"), commission("5", "2026-02-02T10:00:00Z")):
        got = record("tolt", (later, ""), (first, ""))["last_reward"]
        assert "amount" not in got
        assert got.get("currency") in (None, "EUR")


def test_what_a_lead_lacks_is_not_read_off_the_one_before() -> None:
    affiliate = {"affiliate": {"id": "d0ed-1"}}
    first = rewardful("referral.lead", {"id": "r", "customer": {"email": "one@example.com"}} | affiliate)
    later = rewardful("referral.created", {"id": "s", "conversion_state": "visitor"} | affiliate, number=2,
                      at="2026-02-08T10:00:00Z")  # fmt: skip
    assert record("rewardful", (later, ""), (first, ""))["last_lead"] == {"state": "visitor"}


def test_an_invited_partner_of_dub_is_invited() -> None:
    assert record("dub", (dub("partner.enrolled", dub_partner(status="invited")), ""))["status"] == "invited"


# ---------------------------------------------------------------- the answer, and the signature


def test_each_platform_gets_the_answer_that_it_wants() -> None:
    wanted = {"rewardful": 200, "uppromote": 200, "dub": 202, "tolt": 202, "partnerstack": 202}
    assert {name: accepted_status(build(name)) for name in CLASSES} == wanted


def signed(name: str, body: bytes, *, stale: bool = False) -> list[tuple[bytes, bytes]]:
    """The headers that the platform sends; computed here, not by the code that is tested."""
    if name == "tolt":
        at = str(int((datetime.now(UTC) - timedelta(minutes=6 if stale else 0)).timestamp()))
        digest = hmac.new(b"tests-only-key-of-24-byte", f"msg_1.{at}.".encode() + body, hashlib.sha256).digest()
        return [
            (b"svix-id", b"msg_1"), (b"svix-timestamp", at.encode()), (b"svix-signature", b"v1," + b64encode(digest))
        ]  # fmt: skip
    digest = hmac.new(SIGNING_SECRET.encode(), body, hashlib.sha256).hexdigest().encode()
    header = {"rewardful": b"x-rewardful-signature", "dub": b"dub-signature", "uppromote": b"x-uppromote-signature"}
    return [(header[name], digest)]


@pytest.mark.parametrize("name", ["rewardful", "dub", "tolt", "uppromote"])
def test_a_signature_vouches_and_a_token_alone_does_not_where_it_is_required(name: str) -> None:
    bodies = {
        "rewardful": rewardful_bodies, "dub": dub_bodies, "tolt": tolt_bodies, "uppromote": uppromote_bodies
    }  # fmt: skip
    body = json.dumps(bodies[name]()[0][0]).encode()
    secret = SVIX_SECRET if name == "tolt" else SIGNING_SECRET
    source = build(name, signing_secrets=["whsec_b2xk" if name == "tolt" else "an-older-secret", secret],
                   require_signature=True)  # fmt: skip

    def sent(headers: list[tuple[bytes, bytes]], body: bytes = body) -> InboundRequest:
        return InboundRequest(headers, f"token={TOKEN}".encode(), body, datetime.now(UTC))

    event = source.accept(sent(signed(name, body)))
    if name == "tolt":
        assert event.key == "partner.created:msg_1"
        with pytest.raises(Forged):
            source.accept(sent(signed(name, body, stale=True)))
    for headers in ([], [(key, b"0" * 64) for key, _ in signed(name, body)]):
        with pytest.raises(Forged):
            source.accept(sent(headers))
    with pytest.raises(Forged):
        source.accept(sent(signed(name, body), body + b" "))


def test_a_secret_that_is_no_key_of_tolts_is_told() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        build("tolt", signing_secrets=["not base64 at all: ä"])
