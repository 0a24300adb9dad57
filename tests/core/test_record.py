"""Facts become the record that mappings read."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.facts import (
    Fact,
    Facts,
    Value,
    by_stamp,
    dump_stamped,
    facts_of,
    load_facts,
    load_stamped,
    same_values,
)
from connector.core.merge import join
from connector.core.record import AffiliateRecord
from connector.core.view import said_something_new, view


def at(time: int, **values: Value) -> dict[str, Fact]:
    return {path: (time, 0, value) for path, value in values.items()}


def facts(time: int, values: dict[str, Value]) -> dict[str, Fact]:
    return {path: (time, 0, value) for path, value in values.items()}


def told(record: AffiliateRecord) -> dict[str, Any]:
    return record.model_dump(exclude_defaults=True)


def test_every_path_reaches_its_field() -> None:
    said: dict[str, Value] = {
        "platform": "firstpromoter",
        "status": "active",
        "source_status": "active",
        "email": "ada@example.com",
        "first_name": "Ada",
        "address.line1": "1 Engine St",
        "socials.twitch": "https://twitch.example/ada",
        "balances.current.cash": "12.30",
        "balances.earned.free_months": 3,
        "labels": ("b", "a"),
        "signup.promotion": "blog",
        "custom.701": "Social Media",
        "custom.a.b": 3,
        "custom.yes": True,
        "last_reward.amount": "2.00",
        "last_lead.at": "2024-10-03T14:23:20.887000Z",
        "created_at": "2024-10-03T16:23:20+02:00",
        "stats.sales": 9,
        "currency": "USD",
    }
    record = view("fp:41", facts(1, said))
    assert told(record) == {
        "id": "fp:41",
        "source": "fp",
        "affiliate_id": "41",
        "platform": "firstpromoter",
        "status": "active",
        "source_status": "active",
        "email": "ada@example.com",
        "first_name": "Ada",
        "name": "Ada",
        "address": {"line1": "1 Engine St"},
        "socials": {"twitch": "https://twitch.example/ada"},
        "balances": {"current": {"cash": Decimal("12.30")}, "earned": {"free_months": 3}},
        "labels": ("b", "a"),
        "signup": {"promotion": "blog"},
        "custom": {"701": "Social Media", "a.b": 3, "yes": True},
        "last_reward": {"amount": Decimal("2.00")},
        "last_lead": {"at": datetime(2024, 10, 3, 14, 23, 20, 887000, tzinfo=UTC)},
        "created_at": datetime(2024, 10, 3, 14, 23, 20, tzinfo=UTC),
        "stats": {"sales": 9},
        "currency": "USD",
    }


def test_stats_are_summed_over_the_campaigns_exactly() -> None:
    record = view(
        "fp:1",
        facts(
            1,
            {
                "campaigns[7].sales": 3,
                "campaigns[8].sales": 4,
                "campaigns[7].sales_total": "0.10",
                "campaigns[8].sales_total": "99999999999999999999999999999.20",
            },
        ),
    )
    assert record.stats.sales == 7
    assert record.stats.sales_total == Decimal("99999999999999999999999999999.30")
    assert record.stats.visitors is None


def test_stats_that_the_platform_gives_hold_until_a_campaign_is_newer() -> None:
    given_ = facts(5, {"stats.sales": 100})
    assert view("fp:1", join(given_, facts(4, {"campaigns[7].sales": 3}))).stats.sales == 100
    assert view("fp:1", join(given_, facts(6, {"campaigns[7].sales": 3}))).stats.sales == 3


def test_campaigns_stand_in_the_order_of_their_ids() -> None:
    record = view(
        "fp:1", facts(1, {"campaigns[10].name": "b", "campaigns[9].name": "a", "campaigns[campaign:1].name": "c"})
    )
    assert [campaign.id for campaign in record.campaigns] == ["9", "10", "campaign:1"]


CAMPAIGNS: dict[str, Value] = {
    "campaigns[7].name": "first",
    "campaigns[7].ref_id": "r7",
    "campaigns[7].referral_link": "https://x/7",
    "campaigns[8].name": "second",
    "campaigns[8].ref_id": "r8",
    "campaigns[8].promo_code": "P8",
}


@pytest.mark.parametrize(
    ("said", "campaign", "ref_id", "link", "code"),
    [
        ({}, "first", "r7", "https://x/7", None),
        ({"default.ref_id": "r8"}, "second", "r8", None, "P8"),
        ({"default.promotion_id": "8"}, "second", "r8", None, "P8"),
        ({"default.ref_id": "elsewhere"}, "first", "r7", "https://x/7", None),
        ({"default.promotion_id": "8", "default.ref_id": "r7"}, "second", "r8", None, "P8"),
    ],
)
def test_link_and_code_are_those_of_the_default_or_first_campaign(
    said: dict[str, Value], campaign: str, ref_id: str, link: str | None, code: str | None
) -> None:
    record = view("fp:1", facts(1, CAMPAIGNS | said))
    assert (record.campaign, record.ref_id, record.referral_link, record.promo_code) == (campaign, ref_id, link, code)


def test_the_default_ref_id_is_known_before_any_campaign() -> None:
    assert view("fp:1", facts(1, {"default.ref_id": "r"})).ref_id == "r"


def test_a_campaign_known_without_its_membership_is_folded_into_it() -> None:
    known = facts(1, {"campaigns[9].campaign_id": "70", "campaigns[9].name": "old", "campaigns[9].ref_id": "r"})
    named = facts(2, {"campaigns[campaign:70].campaign_id": "70", "campaigns[campaign:70].name": "new"})
    other = facts(2, {"campaigns[campaign:71].campaign_id": "71", "campaigns[campaign:71].name": "other"})
    record = view("fp:1", {**known, **named, **other})
    assert [(campaign.id, campaign.name, campaign.ref_id) for campaign in record.campaigns] == [
        ("9", "new", "r"),
        ("campaign:71", "other", None),
    ]


def test_an_entry_that_a_newer_complete_list_lacks_is_gone() -> None:
    users = facts(1, {"users[1].email": "one@x.example", "users[2].email": "two@x.example"})
    listed = facts(2, {"users[]": ("2",)})
    assert [user.id for user in view("ef:1", join(users, listed)).users] == ["2"]
    assert [
        user.id for user in view("ef:1", join(join(users, listed), facts(3, {"users[1].title": "back"}))).users
    ] == ["2", "1"]
    assert [user.id for user in view("ef:1", join(users, facts(0, {"users[]": ("2",)}))).users] == ["2", "1"]
    assert view("ef:1", join(users, facts(2, {"users[]": ()}))).users == ()


def test_a_membership_that_ended_is_gone_until_it_is_spoken_of_again() -> None:
    known = facts(1, {"campaigns[7].name": "x"})
    ended = facts(2, {"campaigns[7].name": "x", "campaigns[7].gone_at": "2024-01-01T00:00:00Z"})
    assert view("fp:1", join(known, ended)).campaigns == ()
    assert len(view("fp:1", join(join(known, ended), facts(3, {"campaigns[7].status": "accepted"}))).campaigns) == 1


def test_the_main_contact_is_the_first_active_user_in_the_platforms_order() -> None:
    said: dict[str, Value] = {
        "users[]": ("3", "2", "1"),
        "users[1].email": "one@x.example",
        "users[1].status": "active",
        "users[2].email": "two@x.example",
        "users[2].first_name": "Two",
        "users[2].phone": "2",
        "users[2].status": "active",
        "users[3].email": "three@x.example",
        "users[3].status": "inactive",
    }
    record = view("ef:1", facts(1, said))
    assert (record.email, record.first_name, record.phone, record.name) == ("two@x.example", "Two", "2", "Two")
    assert [user.id for user in record.users] == ["3", "2", "1"]
    assert view("ef:1", facts(1, {**said, "email": "own@x.example"})).email == "own@x.example"
    assert (
        view("ef:1", facts(1, {"users[3].email": "three@x.example", "users[3].status": "inactive"})).email
        == "three@x.example"
    )


def test_gone_holds_until_something_newer_is_said_of_the_affiliate_itself() -> None:
    gone = join(at(1, email="a@x.example", status="active"), at(2, email="a@x.example", gone_at="2024-01-01T00:00:00Z"))
    assert view("fp:1", gone).gone_at == datetime(2024, 1, 1, tzinfo=UTC)
    assert view("fp:1", gone).status == "inactive"
    paid = join(gone, facts(3, {"last_reward.amount": "1.00", "campaigns[7].sales": 2}))
    assert view("fp:1", paid).status == "inactive"
    back = join(gone, at(3, email="a@x.example"))
    assert view("fp:1", back).gone_at is None
    assert view("fp:1", back).status == "active"
    assert said_something_new(gone, back)


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (("pending",), "pending"),
        (("rejected", "active", "pending"), "active"),
        (("blocked", "rejected"), "rejected"),
        (("unknown",), "unknown"),
        (("unknown", "pending"), "pending"),
        ((), None),
    ],
)
def test_without_a_status_of_its_own_the_best_campaign_decides(states: tuple[str, ...], status: str | None) -> None:
    record = view("fp:1", facts(1, {f"campaigns[{number}].verdict": state for number, state in enumerate(states, 1)}))
    assert record.status == status


def test_a_newer_verdict_of_a_campaign_outdates_the_status() -> None:
    stated = at(2, status="pending")
    assert view("fp:1", join(stated, facts(3, {"campaigns[7].verdict": "active"}))).status == "active"
    assert view("fp:1", join(stated, facts(1, {"campaigns[7].verdict": "active"}))).status == "pending"


def test_gaps_are_filled_from_the_sign_up_and_the_address() -> None:
    record = view(
        "ef:1",
        facts(
            1,
            {
                "signup.website": "https://x",
                "signup.phone": "1",
                "signup.company_description": "d",
                "address.country": "US",
                "last_name": "L",
            },
        ),
    )
    assert (record.website, record.phone, record.description, record.country, record.name) == (
        "https://x",
        "1",
        "d",
        "US",
        "L",
    )


def test_a_cleared_field_is_empty() -> None:
    assert view("fp:1", join(at(1, email="a@x.example"), at(2, email=None))).email is None


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        (at(1, email="a"), at(2, email="a"), False),
        (at(1, email="a"), at(2, email="b"), True),
        (at(1, email="a"), at(1, email="a", phone="1"), True),
        (facts(1, {"custom.x": 1}), facts(2, {"custom.x": True}), True),
        (at(1, email="a"), at(2, email=None), True),
        ({}, {}, False),
    ],
)
def test_only_values_are_news(before: Facts, after: Facts, new: bool) -> None:
    assert said_something_new(before, after) is new


# ---------------------------------------------------------------- laws

PATHS = """
    id source email status labels created_at gone_at users[] campaigns[] default.ref_id
    default.promotion_id stats.sales stats.sales_total balances.current.cash balances.paid.points
    balances stats custom custom. custom.x users campaigns campaigns[7] campaigns[7]. campaigns[7].sales
    campaigns[8].sales campaigns[7].sales_total campaigns[8].sales_total campaigns[7].status campaigns[7].verdict
    campaigns[7].campaign_id campaigns[campaign:7].campaign_id campaigns[7].gone_at campaigns[].x
    users[1].status users[1].email users[x]]].email last_lead.at address address.city signup.phone
    platform currency name campaign ref_id last_reward.amount nonsense [ ].
"""
_paths = st.one_of(
    st.sampled_from(PATHS.split()),
    st.text(max_size=12),
)
_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=10),
    st.text(alphabet=st.characters(), max_size=3),
    st.lists(st.text(max_size=5), max_size=3).map(tuple),
    st.decimals().map(str),
    st.sampled_from(
        ["active", "accepted", "everflow", "7", "1E+999999999", "9" * 80, "NaN", "-Infinity", "0.1", "\ud800"]
    ),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-01-01", "2024-01-01T00:00:00Z"]),
)
anything = st.dictionaries(_paths, st.tuples(st.integers(-(2**62), 2**62), st.integers(-9, 9), _values), max_size=12)


@given(anything)
def test_no_facts_make_view_raise(said: dict[str, Fact]) -> None:
    record = view("fp:1", said)
    assert AffiliateRecord.model_validate(record.model_dump()) == record


def _has_no_half_characters(said: Facts) -> bool:
    return "\\ud" not in ascii(said)  # strict JSON lets none in


@given(anything.filter(_has_no_half_characters))
def test_facts_by_stamp_come_back_from_their_bytes(said: dict[str, Fact]) -> None:
    kept = load_stamped(dump_stamped(by_stamp(said)))
    assert kept == by_stamp(said)
    assert repr(sorted(facts_of(kept).items())) == repr(sorted(said.items()))
    stamps = [stamp for *stamp, _ in by_stamp(said)]
    assert stamps == sorted(stamps, reverse=True)
    assert all(values for _, _, values in by_stamp(said))


@given(anything, st.data())
def test_values_are_the_same_whatever_their_stamps_are(said: dict[str, Fact], data: st.DataObject) -> None:
    again = {path: (data.draw(st.integers(0, 3)), 0, value) for path, (_, _, value) in said.items()}
    assert same_values(by_stamp(said), by_stamp(again))
    if said:
        path = data.draw(st.sampled_from(sorted(said)))
        other = data.draw(st.none() | st.booleans() | st.integers(0, 1) | st.text(max_size=2) | st.just(("a",)))
        value = said[path][2]
        same = value == other and type(value) is type(other)
        assert same_values(by_stamp(said), by_stamp({**again, path: (0, 0, other)})) is same
        assert not same_values(by_stamp(said), by_stamp({p: fact for p, fact in again.items() if p != path}))


@pytest.mark.parametrize("data", [
        b"", b"[", b"x", b"[1]", b'[[1,0,{"a":1.5}]]', b'[[1,0,{"a":{}}]]', b'[[1,{"a":1}]]', b'[[null,0,{"a":1}]]',
        b'{"a":1}', b'{"a":[1,0]}', b'{"a":[1,0,1.5]}', b'{"a":[1,0,{}]}',
    ])  # fmt: skip
def test_bytes_that_are_no_facts_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        load_facts(data)
