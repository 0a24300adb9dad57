"""Everflow: partners, verdicts, approvals, in the newer and the older shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from connector.core.errors import UnknownShape, Unreadable
from connector.core.source import InboundRequest, Source
from connector.sources.everflow.webhooks import APPROVED, CREATED, SIGNED_UP, UPDATED, VERDICT, Everflow
from tests.sources.promises import TOKEN, Body, SourcePromises, fold, read, request, told

NOW = 1_767_225_600  # 2026-01-01T00:00:00Z


def source(**options: Any) -> Everflow:
    return Everflow("everflow", Everflow.Options.model_validate({"type": "everflow", "token": TOKEN} | options))


def user(number: int, **fields: Any) -> Body:
    return {"network_affiliate_user_id": number, "account_status": "active", "time_saved": NOW} | fields


def partner(**fields: Any) -> Body:
    """The newer shape."""
    body: Body = {
        "network_affiliate_id": 88,
        "network_id": 1,
        "name": "Engines & Co",
        "account_status": "active",
        "default_currency_id": "EUR",
        "internal_notes": "PRIVATE notes",
        "time_created": NOW - 100,
        "time_saved": NOW,
        "relationship": {
            "labels": {"total": 2, "label_entry_list": ["gold", "mobile"]},
            "account_manager": {
                "first_name": "Mary",
                "last_name": "Keeper",
                "email": "mary@net.example",
                "cell_phone": "PRIVATE",
            },
            "account_executive": {"first_name": "Eve", "email": "eve@net.example", "cell_phone": "PRIVATE"},
            "contact_address": {
                "address_line_1": "1 Mill Rd",
                "city": "Ockham",
                "state": "SU",
                "postal_code": "GU1",
                "country_code": "GB",
            },
            "users": {
                "total": 1,
                "user_entities": [
                    user(
                        501,
                        first_name="Ada",
                        last_name="King",
                        email="ada@engines.example",
                        work_phone="+44 1",
                        cell_phone="+44 2",
                        title="CEO",
                    )
                ],
            },
            "billing": {"payment_method": "PRIVATE", "tax_number": "PRIVATE"},
        },
    }
    return body | fields


def older_partner(**fields: Any) -> Body:
    body: Body = {
        "network_affiliate_id": 88,
        "name": "Engines & Co",
        "account_status": "suspended",
        "time_saved": NOW,
        "contact_address": {
            "address_1": "1 Mill Rd",
            "address_2": "Loft",
            "city": "Ockham",
            "region_code": "SU",
            "zip_postal_code": "GU1",
            "country_code": "GB",
        },
        "labels": ["gold"],
        "relationship": {
            "labels": {"total": 1, "entries": ["silver"]},
            "users": {
                "total": 2,
                "entries": [
                    user(501, email="off@engines.example", account_status="inactive"),
                    user(502, email="ada@engines.example"),
                ],
            },
            "signup": {"website_url": "https://engines.example", "phone": "+44 9", "legal_type": "company"},
        },
    }
    return body | fields


def signed_up(**fields: Any) -> Body:
    return (
        partner(
            account_status="pending",
            relationship={
                "users": {"total": 1, "user_entities": [user(501, first_name="Ada", email="ada@engines.example")]},
                "sign_up": {
                    "website_url": "https://engines.example",
                    "company_description": "Makers of engines",
                    "referral_code": "RC",
                    "heard_about_us": "a friend",
                    "advertise_method": "blog",
                    "relationship": {
                        "custom_field_values": [
                            {"network_signup_custom_field_id": 701, "value": "Video"},
                            {"value": "no id"},
                        ],
                        "mailing_address": {"address_line_1": "2 Mail St", "city": "Ockham", "country_code": "GB"},
                        "promotional_information": [
                            {"promotion_type": "blog", "promotion_description": "posts"},
                            {"promotion_type": "mail"},
                        ],
                    },
                },
            },
        )
        | fields
    )


def verdict(**fields: Any) -> Body:
    return {
        "network_id": 1,
        "network_affiliate_id": 88,
        "network_affiliate_name": "Engines & Co",
        "new_status": "active",
        "employee_id": 3,
        "employee_full_name": "Paul Person",
        "timestamp": NOW,
    } | fields


def approval(**fields: Any) -> Body:
    return {
        "offer_id": 17,
        "affiliate_id": 88,
        "event_time": NOW + 5,
        "offer": {"network_offer_id": 17, "name": "Spring offer"},
        "affiliate": {"network_affiliate_id": 88, "name": "Engines & Co", "account_status": "active"},
    } | fields


class TestEverflowKeepsThePromises(SourcePromises):
    secret_keys = ("tax_id", "user_ip", "user_agent")

    def build(self, options: dict[str, Any]) -> Source:
        return Everflow("everflow", Everflow.Options.model_validate({"type": "everflow"} | options))

    def bodies(self) -> Sequence[tuple[Body, str]]:
        return [
            (partner(), f"topic={CREATED}"),
            (partner(time_saved=NOW + 9), f"topic={UPDATED}"),
            (older_partner(), f"topic={UPDATED}"),
            (signed_up(), f"topic={SIGNED_UP}"),
            (verdict(), f"topic={VERDICT}"),
            (approval(), f"topic={APPROVED}"),
            (verdict(new_status="rejected", timestamp=NOW - 1), ""),
        ]


def record(*deliveries: tuple[Body, str]) -> dict[str, Any]:
    updates = [update for body, query in deliveries for update in read(source(), body, query)]
    ((key, facts),) = fold(updates).items()
    return told(key, facts)


def test_a_partner_in_the_newer_shape() -> None:
    assert record((partner(), f"topic={CREATED}")) == {
        "id": "everflow:88",
        "source": "everflow",
        "platform": "everflow",
        "affiliate_id": "88",
        "status": "active",
        "source_status": "active",
        "email": "ada@engines.example",
        "first_name": "Ada",
        "last_name": "King",
        "name": "Ada King",
        "company": "Engines & Co",
        "phone": "+44 1",
        "country": "GB",
        "address": {"line1": "1 Mill Rd", "city": "Ockham", "region": "SU", "postal_code": "GU1", "country": "GB"},
        "currency": "EUR",
        "manager": {"name": "Mary Keeper", "email": "mary@net.example"},
        "account_executive": {"name": "Eve", "email": "eve@net.example"},
        "labels": ["gold", "mobile"],
        "users": [
            {
                "id": "501",
                "first_name": "Ada",
                "last_name": "King",
                "email": "ada@engines.example",
                "phone": "+44 1",
                "title": "CEO",
                "status": "active",
            }
        ],
        "created_at": "2025-12-31T23:58:20Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "last_event": {"type": "partner_created", "at": "2026-01-01T00:00:00Z"},
    }


def test_a_partner_in_the_older_shape() -> None:
    got = record((older_partner(), f"topic={UPDATED}"))
    assert got["status"] == "blocked"
    assert got["source_status"] == "suspended"
    assert got["labels"] == ["silver"]
    assert got["address"] == {
        "line1": "1 Mill Rd",
        "line2": "Loft",
        "city": "Ockham",
        "region": "SU",
        "postal_code": "GU1",
        "country": "GB",
    }
    assert got["email"] == "ada@engines.example"  # the first active user, not the first
    assert [entry["id"] for entry in got["users"]] == ["501", "502"]
    assert got["signup"] == {"website": "https://engines.example", "phone": "+44 9", "legal_type": "company"}


def test_a_sign_up_is_a_pending_partner_with_an_active_user() -> None:
    got = record((signed_up(), f"topic={SIGNED_UP}"))
    assert got["status"] == "pending"
    assert got["email"] == "ada@engines.example"
    assert got["users"][0]["status"] == "active"
    assert got["signup"] == {
        "website": "https://engines.example",
        "company_description": "Makers of engines",
        "referral_code": "RC",
        "heard_about_us": "a friend",
        "advertise_method": "blog",
        "promotion": "blog: posts; mail",
    }
    assert got["custom"] == {"701": "Video"}
    assert got["address"] == {"line1": "2 Mail St", "city": "Ockham", "country": "GB"}
    assert got["website"] == "https://engines.example"


def test_a_sign_up_then_a_verdict_in_any_order_is_the_same_row() -> None:
    deliveries = [(signed_up(), f"topic={SIGNED_UP}"), (verdict(), f"topic={VERDICT}")]
    got = record(*deliveries)
    assert got == record(*reversed(deliveries)) == record(*deliveries, *deliveries)
    assert got["status"] == "active"  # of the same second as "pending"
    assert got["email"] == "ada@engines.example"
    assert got["last_event"]["type"] == VERDICT


def test_the_verdict_outranks_the_sign_up_whatever_urls_they_came_by() -> None:
    for first in ("", f"topic={UPDATED}", f"topic={APPROVED}"):
        for second in ("", f"topic={SIGNED_UP}"):
            assert record((signed_up(), first), (verdict(), second))["status"] == "active"


def test_a_verdict_alone_finds_the_affiliate_by_id() -> None:
    assert record((verdict(new_status="rejected"), "")) == {
        "id": "everflow:88",
        "source": "everflow",
        "platform": "everflow",
        "affiliate_id": "88",
        "status": "rejected",
        "source_status": "rejected",
        "company": "Engines & Co",
        "verdict": {"employee": "Paul Person", "at": "2026-01-01T00:00:00Z"},
        "updated_at": "2026-01-01T00:00:00Z",
        "last_event": {"type": "partner_sign_up_verdict", "at": "2026-01-01T00:00:00Z"},
    }


def test_an_approval_is_a_campaign_and_leaves_the_status_alone() -> None:
    got = record((verdict(new_status="suspended"), ""), (approval(affiliate={}), f"topic={APPROVED}"))
    assert got["campaigns"] == [{"id": "17", "name": "Spring offer", "status": "approved", "campaign_id": "17"}]
    assert got["campaign"] == "Spring offer"
    assert got["status"] == "blocked"


def test_an_approval_may_name_its_partner_inside_only() -> None:
    body = approval()
    del body["affiliate_id"]
    assert record((body, ""))["id"] == "everflow:88"


def test_who_left_the_complete_list_of_users_is_gone() -> None:
    before = partner(
        relationship={
            "users": {"total": 2, "user_entities": [user(1, email="a@x.example"), user(2, email="b@x.example")]}
        }
    )
    after = partner(
        time_saved=NOW + 1, relationship={"users": {"total": 1, "user_entities": [user(2, email="b@x.example")]}}
    )
    part = partner(
        time_saved=NOW + 1, relationship={"users": {"total": 2, "user_entities": [user(2, email="b@x.example")]}}
    )
    assert [entry["id"] for entry in record((after, ""), (before, ""))["users"]] == ["2"]
    assert record((after, ""), (before, ""))["email"] == "b@x.example"
    assert [entry["id"] for entry in record((part, ""), (before, ""))["users"]] == ["1", "2"]


def test_a_users_own_edit_is_newer_than_the_partner() -> None:
    edited = partner(
        relationship={"users": {"total": 1, "user_entities": [user(1, email="new@x.example", time_saved=NOW + 50)]}}
    )
    older = partner(
        time_saved=NOW + 10, relationship={"users": {"total": 1, "user_entities": [user(1, email="old@x.example")]}}
    )
    assert record((edited, ""), (older, ""))["email"] == "new@x.example"


def test_labels_that_were_taken_away_are_gone_and_blanks_say_nothing() -> None:
    none_left = partner(
        time_saved=NOW + 1, name="", default_currency_id=None, relationship={"labels": {"total": 0, "entries": []}}
    )
    got = record((partner(), ""), (none_left, ""))
    assert "labels" not in got
    assert got["company"] == "Engines & Co"
    assert got["currency"] == "EUR"
    assert got["manager"]["name"] == "Mary Keeper"


@pytest.mark.parametrize(
    ("body", "topic"),
    [
        (verdict(), VERDICT),
        (approval(), APPROVED),
        (signed_up(), SIGNED_UP),
        (older_partner(), SIGNED_UP),
        (partner(time_created=NOW), CREATED),
        (partner(), UPDATED),
    ],
)
def test_the_topic_is_the_urls_else_what_the_shape_tells(body: Body, topic: str) -> None:
    assert source().accept(request(body)).topic == topic
    assert source().accept(request(body, "topic=partner_created")).topic == CREATED
    assert source().accept(request(body, "topic=%0d%0aX")).topic == topic
    assert source().accept(request(body, "topic=")).topic == topic


def test_the_key_is_a_hash_of_topic_and_body() -> None:
    keys = {
        source().accept(request(body, query)).key
        for body, query in (
            (verdict(), ""),
            (verdict(), f"topic={UPDATED}"),
            (verdict(timestamp=NOW + 1), ""),
            (verdict() | {"user_ip": "10.0.0.1"}, ""),
            (dict(reversed(verdict().items())), f"topic={CREATED}"),
        )
    }
    assert len(keys) == 4  # the address of whoever clicked is dropped before


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (verdict(), NOW * 1_000_000),
        (verdict(timestamp=str(NOW)), NOW * 1_000_000),
        (verdict(timestamp=NOW + 0.5), NOW * 1_000_000 + 500_000),
        (approval(), (NOW + 5) * 1_000_000),
        (approval(event_time="2026-01-01T00:00:05Z"), (NOW + 5) * 1_000_000),
        (partner(), NOW * 1_000_000),
        (partner(time_saved=0), (NOW - 100) * 1_000_000),
        (verdict(timestamp=None), 1_772_366_400_000_000),
        (verdict(timestamp="soon"), 1_772_366_400_000_000),
        (verdict(timestamp=10**30), 1_772_366_400_000_000),
        (verdict(timestamp=1_772_452_800), 1_772_452_800_000_000),
        (verdict(timestamp=1_772_452_801), 1_772_366_400_000_000),  # more than a day after it was received
        (verdict(timestamp=-5), 1_772_366_400_000_000),
    ],
)
def test_the_time_is_the_platforms_else_that_of_arrival(body: Body, at: int) -> None:
    assert source().accept(request(body)).at == at


def test_a_users_time_in_the_far_future_does_not_win_for_ever() -> None:
    def users(time: int, email: str) -> Body:
        return {"users": {"total": 1, "user_entities": [user(1, email=email, time_saved=time)]}}

    (wrong,) = read(source(), partner(relationship=users(NOW * 2, "old@x.example")))
    received = 1_772_366_400_000_000
    assert wrong.facts["users[1].email"] == (received, wrong.facts["users[1].email"][1], "old@x.example")


def test_a_body_without_a_partner_is_kept_when_the_url_says_it_is_everflows() -> None:
    event = source().accept(request({"brand": "new"}, f"topic={CREATED}"))
    with pytest.raises(UnknownShape):
        source().normalize(event)
    for query in ("", "topic=something_else"):
        with pytest.raises(Unreadable):
            source().accept(request({"brand": "new"}, query))


@pytest.mark.parametrize("number", ["88", 88, 88.0, " 88 ", "0088"])
def test_the_id_may_be_written_in_any_way(number: Any) -> None:
    assert record((verdict(network_affiliate_id=number), ""))["id"] == "everflow:88"


@pytest.mark.parametrize("number", [0, -1, True, "x", "", 1.5, [], {}, "８８"])
def test_an_unusable_id_is_an_unknown_shape(number: Any) -> None:
    with pytest.raises(UnknownShape):
        read(source(), verdict(network_affiliate_id=number))


def test_private_data_is_in_no_fact() -> None:
    for body, query in TestEverflowKeepsThePromises().bodies():
        assert "PRIVATE" not in repr(read(source(), body, query))


def test_a_url_with_too_many_parameters_is_told_with_the_limit() -> None:
    def asked(parameters: int) -> InboundRequest:
        return request(partner(), "&".join([*("a=1" for _ in range(parameters - 2)), f"topic={CREATED}"]))

    assert source().accept(asked(20)).topic == CREATED
    with pytest.raises(Unreadable, match="more than 20 parameters"):
        source().accept(asked(21))
