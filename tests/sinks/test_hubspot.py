"""The HubSpot sink, with the real client over loopback, in both of HubSpot's moods with the same assertions."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import urllib3
from msgspec.structs import replace
from pydantic import ValidationError

from connector.core.errors import NeedsAction, Stopping, TryLater
from connector.core.row import Option, Overwrite, Row
from connector.sinks.hubspot.sink import HubSpotCrm, HubSpotOptions, HubSpotTargetOptions
from tests.far_sides.hubspot_server import HubSpotServer, Mode, NothingFound, Record, definition
from tests.far_sides.loopback import Fault, Reply
from tests.running import root
from tests.sinks.host import TestHost
from tests.sinks.hubspot_account import FILE, by_key, column, kinds, plain, row, sink_of, target_of

both_moods = pytest.mark.parametrize("mode", ["207", "400"])


@pytest.fixture(params=["207", "400"])
def server(request: pytest.FixtureRequest) -> Iterator[HubSpotServer]:
    """An account, in both moods, whose properties exist already."""
    mode: Mode = request.param
    with HubSpotServer(mode) as server:
        server.define("contacts", definition("affiliate_key", unique=True), definition("affiliate_balance", "number"))
        server.define("companies", definition("affiliate_key", unique=True))
        yield server
        assert server.overlaps == []


@pytest.fixture
def sink(server: HubSpotServer) -> Iterator[HubSpotCrm]:
    sink = sink_of(server)
    yield sink
    sink.close()


def contact(server: HubSpotServer, number: int) -> dict[str, str]:
    """The properties of affiliate *number*'s contact."""
    record = server.find("affiliate_key", f"firstpromoter:{number}")
    assert record is not None
    return record.properties


def upserts_fail(server: HubSpotServer, *faults: Fault) -> None:
    """Each of the next calls that write has one of *faults*."""
    left = iter(faults)
    server.fault_for = lambda call: next(left, None) if call.path.endswith("batch/upsert") else None


# ---------------------------------------------------------------- what it costs


def test_no_answer_with_peoples_data_is_kept_after_a_call(server: HubSpotServer, sink: HubSpotCrm) -> None:
    sink.write(target_of(), [row(1)])
    gc.collect()
    kept = [each for each in gc.get_objects() if isinstance(each, urllib3.response.BaseHTTPResponse)]
    assert kept == []


@both_moods
def test_a_thousand_contacts_cost_two_calls_a_hundred_plus_preflight(mode: Mode) -> None:
    with HubSpotServer(mode) as server:
        sink = sink_of(server)
        rows = [row(number) for number in range(1000)]
        outcomes = [
            outcome for start in range(0, 1000, 400) for outcome in sink.write(target_of(), rows[start : start + 400])
        ]
        sink.close()
        assert kinds(outcomes) == {"written": 1000}
        assert [len(server.calls_of(word)) for word in ("batch/read", "batch/upsert")] == [10, 10]
        # list, create the group, create the properties, list again
        assert [call.path.rsplit("/", 1)[-1] for call in server.calls if "/objects/" not in call.path] == [
            "contacts", "groups", "create", "contacts",
        ]  # fmt: skip
        assert len(server.records["contacts"]) == 1000
        assert contact(server, 7)["email"] == "ada7@example.com"


def test_one_bad_row_in_a_hundred_costs_no_good_one_and_few_calls(server: HubSpotServer, sink: HubSpotCrm) -> None:
    rows = [row(n, email="ada@exmaple.con" if n == 41 else f"a{n}@example.com") for n in range(100)]
    outcomes = by_key(sink.write(target_of(), rows))
    assert kinds(list(outcomes.values())) == {"written": 99, "refused": 1}
    assert len(server.calls) <= 1 + 2 + 14
    bad = outcomes["firstpromoter:41"]
    assert bad.reason == (
        'email "ada@exmaple.con" is not accepted by HubSpot (INVALID_EMAIL); mappings/hubspot_contacts.toml:15; '
        'fix it at the platform or set on_error = "leave_empty"'
    )
    assert (bad.code, bad.column) == ("INVALID_EMAIL", "email")
    assert len(server.records["contacts"]) == 99


@both_moods
def test_one_bad_row_that_the_error_does_not_name_costs_at_most_fourteen_more_calls(mode: Mode) -> None:
    with HubSpotServer(mode) as server:
        server.define("contacts", definition("affiliate_key", unique=True))
        sink = sink_of(server)
        target = target_of(plain[:3])
        sink.write(target, [row(1000)])
        before = len(server.calls)
        # A unique property that the mapping knows as plain text: nothing tells beforehand whose it is.
        server.define("contacts", definition("firstname", unique=True))
        there = server.add(firstname="Ada 41")
        outcomes = by_key(sink.write(target, [row(n) for n in range(100)]))
        assert kinds(list(outcomes.values())) == {"written": 99, "refused": 1}
        assert f"contact {there.id}" in outcomes["firstpromoter:41"].reason
        assert len(server.calls) - before <= 1 + 14
        sink.close()


@both_moods
def test_an_error_that_says_nothing_at_all_costs_at_most_fourteen_more_calls(mode: Mode) -> None:
    with HubSpotServer(mode) as server:
        server.define("contacts", definition("affiliate_key", unique=True))
        sink = sink_of(server)
        sink.write(target_of(plain[:3]), [row(1000)])
        before = len(server.calls)
        nothing = Fault("status", Reply(400, {"status": "error", "category": "VALIDATION_ERROR", "message": "Bad"}))
        bad = b'"firstpromoter:41"'
        server.fault_for = lambda call: nothing if bad in call.body and call.path.endswith("upsert") else None
        outcomes = by_key(sink.write(target_of(plain[:3]), [row(n) for n in range(100)]))
        assert kinds(list(outcomes.values())) == {"written": 99, "refused": 1}
        assert outcomes["firstpromoter:41"].reason == "HubSpot refuses this row: Bad"
        assert len(server.calls) - before <= 2 + 14
        sink.close()


def test_a_hundred_bad_rows_are_a_hundred_refusals_and_the_calls_have_an_end(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    outcomes = sink.write(target_of(), [row(n, email=f"ada{n}@example.con") for n in range(100)])
    assert kinds(outcomes) == {"refused": 100}
    assert all(f'"ada{n}@example.con"' in by_key(outcomes)[f"firstpromoter:{n}"].reason for n in range(100))
    assert len(server.calls_of("batch/upsert")) <= 199
    assert server.records["contacts"] == {}


def test_what_can_be_known_beforehand_is_refused_without_a_call(server: HubSpotServer, sink: HubSpotCrm) -> None:
    as_text = target_of([plain[0], column("email", "text"), *plain[2:]])  # the mapping does not look at text
    sink.write(as_text, [row(1)])
    before = len(server.calls)
    outcomes = sink.write(as_text, [row(2, email="no address")])
    outcomes = [*outcomes, *sink.write(target_of(), [row(3, email="x@host.test"), row(4, email="x@test")])]
    assert kinds(outcomes) == {"refused": 3}
    assert len(server.calls) == before


def test_a_bad_optional_value_costs_only_itself_where_the_mapping_says_so(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    columns = [plain[0], column("email", "email", on_error="leave_empty"), *plain[2:]]
    rows = [row(1, email="ada@exmaple.con"), row(2, email="no address"), row(3)]
    outcomes = by_key(sink.write(target_of(columns), rows))
    assert kinds(list(outcomes.values())) == {"written": 3}
    assert outcomes["firstpromoter:1"].notices == ("email was left empty: HubSpot does not accept its value",)
    assert "email" not in contact(server, 1)
    assert contact(server, 1)["firstname"] == "Ada 1"
    assert contact(server, 3)["email"] == "ada3@example.com"


# ---------------------------------------------------------------- values


def test_values_go_out_as_hubspot_takes_them(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.define(
        "contacts",
        definition("joined", "date"),
        definition("seen", "datetime"),
        definition("vip", "bool"),
        definition("tags", "enumeration", field_type="checkbox", options=[("uk", "UK"), ("vip", "VIP")]),
        definition("clicks", "number"),
    )
    columns = [
        *plain,
        column("joined", "date"),
        column("seen", "datetime"),
        column("vip", "boolean"),
        column("tags", "list"),
        column("clicks", "integer"),
    ]
    values: dict[str, Any] = {
        "joined": date(2026, 2, 3),
        "seen": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        "vip": False,
        "tags": ("uk", "vip"),
        "clicks": 0,
        "affiliate_balance": Decimal("-507.40"),
        "email": " Ada@Example.COM ",
    }
    assert kinds(sink.write(target_of(columns), [row(1, **values)])) == {"written": 1}
    written = contact(server, 1)
    assert {name: written[name] for name in values} == {
        "joined": "2026-02-03",
        "seen": "2026-02-03T04:05:06.000Z",
        "vip": "false",
        "tags": "uk;vip",
        "clicks": "0",
        "affiliate_balance": "-507.40",
        "email": "ada@example.com",
    }


def test_an_empty_value_clears_only_where_the_mapping_says_so(server: HubSpotServer, sink: HubSpotCrm) -> None:
    columns = [*plain[:2], column("firstname", overwrite="always"), *plain[3:]]
    sink.write(target_of(columns), [row(1, phone="+442071838750")])
    sink.write(target_of(columns), [row(1, phone=None, firstname=None)])
    assert contact(server, 1)["phone"] == "+442071838750"
    assert contact(server, 1)["firstname"] == ""


def test_a_stage_that_hubspot_keeps_is_told(server: HubSpotServer, sink: HubSpotCrm) -> None:
    columns = [*plain[:2], column("lifecyclestage", overwrite="always")]
    sink.write(target_of(columns), [row(1, lifecyclestage="customer")])
    (outcome,) = sink.write(target_of(columns), [row(1, lifecyclestage="lead")])
    assert outcome.kind == "written"
    assert outcome.notices == ("lifecyclestage stayed at customer: HubSpot only moves it forward",)


def test_an_option_that_hubspot_lacks_is_refused_with_the_options_it_has(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    server.define("contacts", definition("state", "enumeration", options=[("a", "A"), ("b", "B")]))
    (outcome,) = sink.write(target_of([*plain, column("state")]), [row(1, state="A")])
    assert outcome.reason.startswith('state "A" is none of the property\'s options in HubSpot (a, b) (INVALID_OPTION)')


def test_a_word_that_came_later_costs_only_its_cell_where_hubspot_lacks_the_option(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    """People's property is older than the word: their contact must not become a dead letter for it."""
    server.define("contacts", definition("state", "enumeration", options=[("active", "Active")]))
    target = target_of([*plain, column("state", later_words=("unknown",))])
    assert kinds(sink.write(target, [row(1, state="active")])) == {"written": 1}
    assert kinds(sink.write(target, [row(1, state="unknown"), row(2, state="unknown")])) == {"written": 2}
    assert contact(server, 1)["state"] == "active"
    assert contact(server, 2)["firstname"] == "Ada 2"


def test_an_option_that_somebody_took_away_meanwhile_is_not_told_as_there(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    server.define("contacts", definition("state", "enumeration", options=[("a", "A"), ("b", "B")]))
    target = target_of([*plain, column("state")])
    assert kinds(sink.write(target, [row(1, state="a")])) == {"written": 1}
    server.definitions["contacts"]["state"]["options"].pop()
    (outcome,) = sink.write(target, [row(2, state="b")])
    assert outcome.reason.startswith('state "b" is none of the property\'s options in HubSpot (INVALID_OPTION)')


# ---------------------------------------------------------------- take-overs and conflicts


@both_moods
@pytest.mark.parametrize("new_wording", [False, True])
def test_contacts_that_exist_are_taken_over_by_e_mail(mode: Mode, new_wording: bool) -> None:
    with HubSpotServer(mode, new_wording=new_wording) as server:
        sink = sink_of(server)
        for number in range(30):
            server.add(email=f"ada{number}@example.com", jobtitle="typed by a colleague")
        outcomes = sink.write(target_of(also_match=("email",)), [row(number) for number in range(100)])
        assert kinds(outcomes) == {"written": 100}
        assert len(server.records["contacts"]) == 100
        assert contact(server, 7)["jobtitle"] == "typed by a colleague"
        assert contact(server, 7)["firstname"] == "Ada 7"
        writes = len(server.calls_of("batch/upsert")) + len(server.calls_of("batch/update"))
        assert writes <= 3
        assert len(server.calls_of("batch/read")) <= 2
        # From now on they go by key, even when the address changes.
        sink.write(target_of(also_match=("email",)), [row(7, email="new@example.com")])
        assert contact(server, 7)["email"] == "new@example.com"
        assert len(server.records["contacts"]) == 100
        sink.close()


@pytest.mark.parametrize(
    ("there", "ours"),
    [
        ("ada@xn--bcher-kva.example", "ada@b\u00fccher.example"),
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_a_contact_is_found_by_either_spelling_of_its_domain_and_keeps_its_own(
    server: HubSpotServer, sink: HubSpotCrm, there: str, ours: str
) -> None:
    server.add(email=there)
    ada = row(1, email=ours)
    for again in (ada, replace(ada, last=ada.cells, cells={**ada.cells, "firstname": "Ada"})):
        assert kinds(sink.write(target_of(also_match=("email",)), [again])) == {"written": 1}
    assert len(server.records["contacts"]) == 1
    assert contact(server, 1)["firstname"] == "Ada"
    assert contact(server, 1)["email"] == there


def test_a_contact_is_taken_over_by_an_additional_address_too(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.add(email="main@example.com", hs_additional_emails="ada1@example.com;other@example.com")
    assert kinds(sink.write(target_of(also_match=("email",)), [row(1)])) == {"written": 1}
    assert len(server.records["contacts"]) == 1


def test_an_address_that_another_contact_has_is_told_with_its_id(server: HubSpotServer, sink: HubSpotCrm) -> None:
    there = server.add(email="ada5@example.com")
    outcomes = by_key(sink.write(target_of(), [row(number) for number in range(100)]))
    assert kinds(list(outcomes.values())) == {"written": 99, "refused": 1}
    refused = outcomes["firstpromoter:5"]
    assert f"contact {there.id}" in refused.reason
    assert 'also_match = ["email"]' in refused.reason
    assert refused.code == "CONFLICT"
    assert len(server.calls) <= 6


def test_two_affiliates_with_one_address_are_never_one_contact(server: HubSpotServer, sink: HubSpotCrm) -> None:
    target = target_of(also_match=("email",))
    outcomes = by_key(sink.write(target, [row(1, email="same@example.com"), row(2, email="same@example.com"), row(3)]))
    kinds_ = sorted(outcome.kind for outcome in outcomes.values())
    assert kinds_ == ["refused", "written", "written"]
    refused = next(outcome for outcome in outcomes.values() if outcome.kind == "refused")
    assert "two affiliates can't be one record" in refused.reason
    assert len(server.records["contacts"]) == 2


def test_two_affiliates_never_take_over_the_same_contact(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.add(email="same@example.com")
    target = target_of(also_match=("email",))
    rows = [row(1, email="same@example.com"), row(2, email="same@example.com"), row(3)]
    outcomes = by_key(sink.write(target, rows))
    again = [each for each in rows if outcomes[each.key].kind == "later"]
    outcomes |= by_key(sink.write(target, again)) if again else {}
    assert sorted(outcome.kind for outcome in outcomes.values()) == ["refused", "written", "written"]
    assert len(server.records["contacts"]) == 2


def test_key_and_address_that_find_two_contacts_are_for_a_person(server: HubSpotServer, sink: HubSpotCrm) -> None:
    target = target_of(also_match=("email",))
    sink.write(target, [row(1)])
    other = server.add(email="new@example.com")
    (outcome,) = sink.write(target, [row(1, email="new@example.com")])
    assert outcome.kind == "refused"
    assert outcome.code == "SEVERAL_MATCH"
    assert other.id in outcome.reason
    assert contact(server, 1)["email"] == "ada1@example.com"


def test_two_addresses_of_one_contact_in_a_batch_are_untangled(server: HubSpotServer, sink: HubSpotCrm) -> None:
    columns = [column("email", "email"), column("firstname")]
    server.add(email="main@example.com", hs_additional_emails="second@example.com")
    rows = []
    for number, email in enumerate(["main@example.com", "a@example.com", "second@example.com", "b@example.com"]):
        made = row(number, email=email)
        rows.append(type(made)(email, email, {"email": email, "firstname": f"name {number}"}))
    outcomes = sink.write(target_of(columns, key="email"), rows)
    assert kinds(outcomes) == {"written": 4}
    assert len(server.records["contacts"]) == 3
    record = server.find("email", "second@example.com")
    assert record is not None
    assert record.properties["firstname"] == "name 2"


# ---------------------------------------------------------------- people's edits


@pytest.mark.parametrize("rule", ["always", "never_clear", "only_if_empty"])
def test_a_hundred_contacts_cost_a_reading_and_a_writing_call(
    server: HubSpotServer, sink: HubSpotCrm, rule: Overwrite
) -> None:
    columns = [*plain[:2], column("firstname", overwrite=rule)]
    sink.write(target_of(columns), [row(number) for number in range(200)])
    assert len(server.calls_of("batch/read")) == 2
    assert len(server.calls_of("batch/upsert")) == 2
    # Nothing to change: nothing is written.
    sink.write(target_of(columns), [row(number) for number in range(200)])
    assert len(server.calls_of("batch/read")) == 4
    assert len(server.calls_of("batch/upsert")) == 2


def test_rules_hold_for_a_contact_that_is_taken_over(server: HubSpotServer, sink: HubSpotCrm) -> None:
    columns = [
        *plain[:2],
        column("firstname", overwrite="only_if_empty"),
        column("jobtitle", overwrite="on_create"),
        column("lifecyclestage", overwrite="only_forward", order=("lead", "customer")),
    ]
    server.add(email="ada1@example.com", firstname="Augusta", lifecyclestage="customer")
    target = target_of(columns, also_match=("email",))
    sink.write(target, [row(1, jobtitle="Affiliate", lifecyclestage="lead"), row(2, jobtitle="Affiliate")])
    assert contact(server, 1)["firstname"] == "Augusta"
    assert "jobtitle" not in contact(server, 1)
    assert contact(server, 1)["lifecyclestage"] == "customer"
    assert contact(server, 2)["jobtitle"] == "Affiliate"


def test_update_only_creates_nobody(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.add(email="ada1@example.com")
    server.add(affiliate_key="firstpromoter:2")
    target = target_of(new_records="update_only", also_match=("email",))
    outcomes = by_key(sink.write(target, [row(1), row(2), row(3)]))
    assert kinds(list(outcomes.values())) == {"written": 3}
    assert outcomes["firstpromoter:3"].notices == ("not in HubSpot; left out, because new_records is update_only",)
    assert len(server.records["contacts"]) == 2
    assert contact(server, 1)["firstname"] == "Ada 1"
    assert contact(server, 2)["email"] == "ada2@example.com"


# ---------------------------------------------------------------- answers that say too little


def test_a_row_that_the_answer_leaves_out_is_sent_again_and_then_told(server: HubSpotServer, sink: HubSpotCrm) -> None:
    ignored: list[Mapping[str, Any]] = []

    def once(item: Mapping[str, Any]) -> bool:
        if item["id"] == "firstpromoter:3" and not ignored:
            ignored.append(item)
            return True
        return bool(item["id"] == "firstpromoter:5")

    server.ignore = once
    outcomes = by_key(sink.write(target_of(), [row(number) for number in range(10)]))
    assert kinds(list(outcomes.values())) == {"written": 9, "later": 1}
    assert outcomes["firstpromoter:5"].code == "unaccounted"
    assert contact(server, 3)["firstname"] == "Ada 3"
    assert len(server.calls_of("batch/upsert")) == 2


@pytest.mark.parametrize("reply", [Reply(202), Reply(200, {"status": "PENDING"}), Reply(200, b"<html>hello</html>")])
def test_a_success_without_results_is_none(server: HubSpotServer, sink: HubSpotCrm, reply: Reply) -> None:
    sink.write(target_of(), [row(99)])
    upserts_fail(server, Fault("status", reply))
    assert kinds(sink.write(target_of(), [row(1), row(2)])) == {"written": 2}
    assert contact(server, 2)["firstname"] == "Ada 2"
    upserts_fail(server, *[Fault("status", reply)] * 2)
    assert kinds(sink.write(target_of(), [row(1, firstname="x"), row(2, firstname="x")])) == {"later": 2}


@pytest.mark.parametrize("category", ["INTERNAL_ERROR", "RATE_LIMITS", "LOCKED"])
def test_an_error_of_one_row_that_time_heals_is_no_dead_letter(
    server: HubSpotServer, sink: HubSpotCrm, category: str
) -> None:
    sink.write(target_of(), [row(99)])
    error = {"status": "error", "category": category, "message": "x", "context": {"objectWriteTraceId": ["0"]}}
    upserts_fail(server, Fault("status", Reply(207, {"status": "COMPLETE", "results": [], "errors": [error]})))
    (outcome,) = sink.write(target_of(), [row(1)])
    assert (outcome.kind, outcome.code) == ("later", category)


def test_a_reading_answer_that_says_nothing_is_not_an_empty_account(server: HubSpotServer, sink: HubSpotCrm) -> None:
    columns = [*plain[:2], column("firstname", overwrite="only_if_empty")]
    server.add(affiliate_key="firstpromoter:1", firstname="Augusta")
    sink.write(target_of(columns), [row(99)])
    server.faults.append(Fault("status", Reply(202)))
    with pytest.raises(TryLater, match="without the list"):
        sink.write(target_of(columns), [row(1)])
    server.faults.append(Fault("status", Reply(200, {"status": "COMPLETE", "results": []})))
    assert kinds(sink.write(target_of(columns), [row(1)])) == {"written": 1}
    assert contact(server, 1)["firstname"] == "Augusta"


# ---------------------------------------------------------------- nothing found


@both_moods
@pytest.mark.parametrize("nothing_found", ["207", "200", "404"])
def test_nothing_found_is_no_error_however_hubspot_says_it(mode: Mode, nothing_found: NothingFound) -> None:
    with HubSpotServer(mode, nothing_found=nothing_found) as server:
        sink = sink_of(server)
        columns = [*plain[:2], column("firstname", overwrite="only_if_empty")]
        target = target_of(columns, also_match=("email",))
        assert all(finding.level == "ok" for finding in sink.check(target))
        assert [change.found_by for change in sink.preview(target, [row(1)])] == [None]
        assert kinds(sink.write(target, [row(1), row(2)])) == {"written": 2}
        assert contact(server, 1)["email"] == "ada1@example.com"
        linked = target_of(columns, company={"key": "id"})
        server.define("companies", definition("affiliate_key", unique=True))
        (outcome,) = sink.write(linked, [row(3, extras={"company.key": "everflow:1"})])
        assert outcome.code == "company_missing"
        sink.close()


def test_another_404_of_a_reading_stops_the_route(server: HubSpotServer, sink: HubSpotCrm) -> None:
    columns = [*plain[:2], column("firstname", overwrite="only_if_empty")]
    sink.write(target_of(columns), [row(99)])
    server.faults.append(Fault("status", Reply(404, {"category": "NOT_FOUND", "message": "no such path"})))
    with pytest.raises(NeedsAction, match="404"):
        sink.write(target_of(columns), [row(1)])


# ---------------------------------------------------------------- additional addresses


def merged(server: HubSpotServer) -> Record:
    """A contact customer@example.com into which a person has merged ada1@example.com."""
    primary, secondary = server.add(email="customer@example.com", firstname="Pat"), server.add(email="ada1@example.com")
    server.merge(primary, secondary)
    return primary


@pytest.mark.parametrize("rule", ["only_if_empty", "never_clear"])
def test_an_additional_address_is_not_made_the_primary_one(
    server: HubSpotServer, sink: HubSpotCrm, rule: Overwrite
) -> None:
    id_ = merged(server).id
    columns = [*plain[:2], column("firstname", overwrite="only_if_empty"), column("phone", "phone", rule)]
    target = target_of(columns, also_match=("email",))
    for phone in ("+442071838750", "+442071838751"):
        assert kinds(sink.write(target, [row(1, phone=phone)])) == {"written": 1}
        there = server.records["contacts"][id_]
        assert there.properties["email"] == "customer@example.com"
        assert there.properties["affiliate_key"] == "firstpromoter:1"
        assert there.properties["firstname"] == "Pat"
    assert there.properties["phone"] == ("+442071838751" if rule == "never_clear" else "+442071838750")
    assert len(server.records["contacts"]) == 1


def test_an_additional_address_stays_one_when_the_answer_to_the_take_over_is_lost(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    id_ = merged(server).id
    target = target_of(also_match=("email",))
    server.fault_for = lambda call: Fault("reset_after") if "batch/update" in call.path else None
    with pytest.raises(TryLater):
        sink.write(target, [row(1)])
    server.fault_for = lambda call: None
    assert kinds(sink.write(target, [row(1, phone="+442071838750")])) == {"written": 1}
    there = server.records["contacts"][id_].properties
    assert (there["affiliate_key"], there["email"]) == ("firstpromoter:1", "customer@example.com")
    assert there["phone"] == "+442071838750"


def test_a_merge_is_not_undone(server: HubSpotServer, sink: HubSpotCrm) -> None:
    first = row(1)
    sink.write(target_of(), [first])
    there = server.find("affiliate_key", "firstpromoter:1")
    assert there is not None
    server.merge(there, server.add(email="second@example.com"))
    there.properties.update(email="customer@example.com", hs_additional_emails="ada1@example.com;second@example.com")
    server.define("contacts")  # the addresses are looked up anew
    sink.write(target_of(), [row(1, last=first.cells, phone="+442071838750")])
    sink.write(target_of(), [row(1, last=first.cells, email="second@example.com")])
    assert there.properties["email"] == "customer@example.com"
    assert there.properties["phone"] == "+442071838750"
    sink.write(target_of(), [row(1, last=first.cells, email="new@example.com")])
    assert there.properties["email"] == "new@example.com"


# ---------------------------------------------------------------- a key that changes, a value that is missing


def test_a_changed_key_moves_the_contact(server: HubSpotServer, sink: HubSpotCrm) -> None:
    target = target_of([column("email", "email"), column("firstname")], key="email")

    def by_email(email: str, **more: Any) -> Row:
        return Row("firstpromoter:1", email, {"email": email, "firstname": "Ada"}, **more)

    old = by_email("Old@example.com")
    sink.write(target, [old])
    there = server.find("email", "old@example.com")
    assert there is not None
    there.properties["jobtitle"] = "typed by a colleague"
    moved = by_email("new@example.com", last=old.cells, moved_from=old.key)
    assert kinds(sink.write(target, [moved])) == {"written": 1}
    (record,) = server.records["contacts"].values()
    assert (record.properties["email"], record.properties["jobtitle"]) == ("new@example.com", "typed by a colleague")
    # The answer was lost: the same again finds the contact under its new key. One that is gone is made anew.
    assert kinds(sink.write(target, [moved])) == {"written": 1}
    assert len(server.records["contacts"]) == 1
    gone = by_email("third@example.com", last=old.cells, moved_from="nobody@example.com")
    assert kinds(sink.write(target, [gone])) == {"written": 1}
    assert len(server.records["contacts"]) == 2


def test_a_changed_key_does_not_take_the_record_that_has_the_new_one(server: HubSpotServer, sink: HubSpotCrm) -> None:
    sink.write(target_of(), [row(1), row(2)])
    moved = replace(row(2, email="moved@example.com"), moved_from="firstpromoter:1")
    assert kinds(sink.write(target_of(), [moved])) == {"written": 1}
    assert contact(server, 1)["email"] == "ada1@example.com"
    assert contact(server, 2)["email"] == "moved@example.com"


def test_nobody_new_is_made_without_the_value_that_the_mapping_waits_for(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    target = target_of(also_match=("email",), wait_for=("email",))
    server.add(affiliate_key="firstpromoter:2", firstname="Ada")
    rows = [row(1, email=None), row(2, email=None, phone="+442071838750"), row(3)]
    outcomes = by_key(sink.write(target, rows))
    assert {key: outcome.kind for key, outcome in outcomes.items()} == {
        "firstpromoter:1": "incomplete", "firstpromoter:2": "written", "firstpromoter:3": "written",
    }  # fmt: skip
    assert outcomes["firstpromoter:1"].column == "email"
    assert contact(server, 2)["phone"] == "+442071838750"
    assert server.find("affiliate_key", "firstpromoter:1") is None
    changes = {change.key: change for change in sink.preview(target, rows)}
    assert changes["firstpromoter:1"].note == "waits for its email: nobody new is made without it"
    # An address that HubSpot does not accept is not one that is missing.
    assert kinds(sink.write(target, [row(1, email="ada@exmaple.con")])) == {"refused": 1}
    assert kinds(sink.write(target, [row(1)])) == {"written": 1}
    sink.write(target, [row(1, last=row(1).cells, email=None, phone="+442071838751")])
    assert contact(server, 1)["email"] == "ada1@example.com"


def test_a_name_to_wait_for_that_no_field_has_stops_the_route(server: HubSpotServer, sink: HubSpotCrm) -> None:
    target = target_of(wait_for=("emial",))
    with pytest.raises(NeedsAction, match="emial"):
        sink.write(target, [row(1)])
    assert [finding.subject for finding in sink.check(target) if finding.level == "problem"] == ["emial"]


# ---------------------------------------------------------------- the account's and the network's errors


@pytest.mark.parametrize(
    ("fault", "after"),
    [
        (Fault("reset_before"), None),
        (Fault("reset_after"), None),
        (Fault("cut_after"), None),
        (Fault("status", Reply(423, {"category": "LOCKED"})), 2.0),
        (Fault("status", Reply(477, {}, {"Retry-After": "3600"})), 3600.0),
        (Fault("status", Reply(500, {})), None),
        (Fault("status", Reply(502, b"<html>Bad gateway \xff</html>", {"Content-Type": "text/html"})), None),
        (Fault("status", Reply(503, {}, {"Retry-After": "7"})), 7.0),
        (Fault("status_after", Reply(504, {})), None),
        (Fault("status", Reply(521, b"")), None),
        (Fault("status", Reply(524, b"")), None),
    ],
    ids=lambda value: f"{value.kind} {value.reply.status}" if isinstance(value, Fault) else "",
)
def test_what_time_heals_leaves_the_batch_pending_and_a_resend_makes_no_double(
    server: HubSpotServer, sink: HubSpotCrm, fault: Fault, after: float | None
) -> None:
    sink.write(target_of(), [row(99)])
    server.faults.append(fault)
    with pytest.raises(TryLater) as caught:
        sink.write(target_of(), [row(1), row(2)])
    assert caught.value.after == after
    assert not caught.value.quota
    assert "example.com" not in str(caught.value)
    assert kinds(sink.write(target_of(), [row(1), row(2)])) == {"written": 2}
    assert len(server.records["contacts"]) == 3


def test_an_answer_that_never_comes_is_waited_for_only_so_long(server: HubSpotServer) -> None:
    sink = sink_of(server, timeout_seconds=1.0)
    sink.write(target_of(), [row(99)])
    server.faults.append(Fault("hang_after"))
    with pytest.raises(TryLater, match="ReadTimeout"):
        sink.write(target_of(), [row(1)])
    assert kinds(sink.write(target_of(), [row(1)])) == {"written": 1}
    assert len(server.records["contacts"]) == 2
    sink.close()


def test_a_destination_that_is_not_there_is_a_matter_of_time() -> None:
    with HubSpotServer() as gone:
        sink = sink_of(gone)
    with pytest.raises(TryLater, match=r"no answer from 127\.0\.0\.1"):
        sink.write(target_of(), [row(1)])
    sink.close()


def test_a_broken_tls_connection_is_a_matter_of_time() -> None:
    with HubSpotServer() as server:
        options = HubSpotOptions(
            type="hubspot", mappings=(FILE,), access_token="x", base_url=server.url.replace("http:", "https:")
        )
        sink = HubSpotCrm("hubspot", options, TestHost())
        with pytest.raises(TryLater, match=r"TLS|SSL"):
            sink.write(target_of(), [row(1)])
        sink.close()


def test_the_quota_of_the_moment_stops_everybody_for_one_window(server: HubSpotServer) -> None:
    host = TestHost()
    sink = sink_of(server, host)
    sink.write(target_of(), [row(99)])
    server.faults.append(Fault("status", Reply(429, {"policyName": "TEN_SECONDLY_ROLLING"})))
    with pytest.raises(TryLater) as caught:
        sink.write(target_of(), [row(1)])
    assert caught.value.quota
    assert caught.value.after == 10.0
    assert sink.pace(target_of(route="hubspot/other")) == 10.0
    before = len(server.calls)
    with pytest.raises(TryLater) as caught:
        sink.write(target_of(), [row(1)])
    assert caught.value.quota
    assert len(server.calls) == before
    host.advance(10.0)
    assert sink.pace(target_of()) == 0.0
    assert kinds(sink.write(target_of(), [row(1)])) == {"written": 1}
    sink.close()


def test_the_daily_quota_waits_for_a_midnight_somewhere_and_keeps_everything(server: HubSpotServer) -> None:
    host = TestHost(start=datetime(2026, 11, 20, 12, 7, 30, tzinfo=UTC))
    sink = sink_of(server, host)
    sink.write(target_of(), [row(99)])
    server.daily = 0
    with pytest.raises(TryLater) as caught:
        sink.write(target_of(), [row(1)])
    assert caught.value.quota
    assert caught.value.after == pytest.approx(7.5 * 60 + 5, abs=1)
    assert "daily quota" in caught.value.reason
    assert "12:15 UTC" in caught.value.reason
    server.daily = None
    host.advance(7.5 * 60 + 6)
    assert kinds(sink.write(target_of(), [row(1)])) == {"written": 1}
    sink.close()


@pytest.mark.parametrize("state", ["INVALID_AUTHENTICATION", "EXPIRED_AUTHENTICATION"])
def test_a_token_that_is_not_accepted_stops_the_route_and_loses_nothing(
    server: HubSpotServer, sink: HubSpotCrm, state: Any
) -> None:
    sink.write(target_of(), [row(99)])
    server.token_state = state
    with pytest.raises(NeedsAction, match=rf"{state}.*Private Apps"):
        sink.write(target_of(), [row(1)])
    server.token_state = "good"
    assert kinds(sink.write(target_of(), [row(1)])) == {"written": 1}


def test_missing_scopes_are_named(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.scopes.discard("crm.objects.contacts.write")
    with pytest.raises(NeedsAction, match=r"crm\.objects\.contacts\.write"):
        sink.write(target_of(), [row(1)])


def test_a_lost_schema_scope_is_noticed_while_nothing_is_missing(server: HubSpotServer) -> None:
    host = TestHost()
    sink = sink_of(server, host)
    sink.write(target_of(), [row(1)])
    server.scopes.discard("crm.schemas.contacts.read")
    assert kinds(sink.write(target_of(), [row(2)])) == {"written": 1}
    host.advance(300)
    with pytest.raises(NeedsAction, match=r"crm\.schemas\.contacts\.read"):
        sink.write(target_of(), [row(3)])
    server.scopes.add("crm.schemas.contacts.read")
    assert kinds(sink.write(target_of(), [row(3)])) == {"written": 1}
    sink.close()


def test_check_notices_the_loss_of_the_scope_that_makes_properties(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.scopes.discard("crm.schemas.contacts.write")
    findings = {finding.subject: finding for finding in sink.check(target_of())}
    assert findings["scopes"].level == "notice"
    assert "crm.schemas.contacts.write" in findings["scopes"].text
    findings = {finding.subject: finding for finding in sink.check(target_of(missing_columns="stop"))}
    assert findings["scopes"].level == "ok"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429])
def test_what_an_answer_repeats_of_our_token_and_of_people_is_kept_nowhere(
    server: HubSpotServer, sink: HubSpotCrm, status: int
) -> None:
    echo = f"bad zqperson0@example.com token Bearer {server.token}"
    body = {
        "category": echo, "message": echo, "policyName": echo,
        "context": {"requiredGranularScopes": [echo, "crm.objects.contacts.write"], "ids": [echo]},
        "errors": [{"code": echo, "message": echo, "context": {"propertyName": [echo]}}],
    }  # fmt: skip
    sink.write(target_of(), [row(99)])
    server.fault_for = lambda call: Fault("status", Reply(status, body))
    said: list[str] = []
    try:
        outcomes = sink.write(target_of(), [row(number) for number in range(20)])
        said += [outcome.code for outcome in outcomes]
        assert server.token not in repr(outcomes)
    except (NeedsAction, TryLater) as error:
        said.append(error.reason)
    try:
        said += [f"{finding.subject} {finding.text}" for finding in sink.check(target_of())]
    except (NeedsAction, TryLater) as error:
        said.append(error.reason)
    assert said
    assert not any(server.token in words or "zqperson0" in words for words in said)
    if status == 403:
        assert "crm.objects.contacts.write" in said[0]


def test_another_program_at_base_url_is_told(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.faults.append(Fault("status", Reply(404, b"<html>nginx</html>")))
    with pytest.raises(NeedsAction, match="check base_url"):
        sink.write(target_of(), [row(1)])


def test_one_batch_that_fails_does_not_send_the_others_again(server: HubSpotServer, sink: HubSpotCrm) -> None:
    sink.write(target_of(), [row(9999)])
    server.poison = lambda item: item["id"] == "firstpromoter:250"
    outcomes = sink.write(target_of(), [row(number) for number in range(400)])
    assert kinds(outcomes) == {"written": 300, "later": 100}


# ---------------------------------------------------------------- properties


def test_a_property_that_a_colleague_deleted_is_made_again(server: HubSpotServer, sink: HubSpotCrm) -> None:
    sink.write(target_of(), [row(1)])
    del server.definitions["contacts"]["affiliate_balance"]
    rows = [row(number, affiliate_balance=Decimal(5)) for number in range(100)]
    assert kinds(sink.write(target_of(), rows)) == {"written": 100}
    assert contact(server, 42)["affiliate_balance"] == "5"


def test_a_property_that_a_colleague_deleted_stops_the_route_if_the_mapping_says_so(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    target = target_of(missing_columns="stop")
    sink.write(target, [row(1)])
    del server.definitions["contacts"]["affiliate_balance"]
    with pytest.raises(NeedsAction, match="connector provision hubspot/contacts"):
        sink.write(target, [row(1, affiliate_balance=Decimal(5))])


def test_a_property_that_hubspot_refuses_again_and_again_stops_the_route(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    sink.write(target_of(), [row(1)])
    unknown = {
        "category": "VALIDATION_ERROR",
        "message": 'Property values were not valid: [{"isValid":false,"error":"PROPERTY_DOESNT_EXIST",'
        '"name":"firstname","message":"Property \\"firstname\\" does not exist"}]',
    }
    server.fault_for = lambda call: Fault("status", Reply(400, unknown)) if call.path.endswith("upsert") else None
    with pytest.raises(NeedsAction, match="firstname"):
        sink.write(target_of(), [row(1, firstname="Ada")])


def test_missing_properties_are_made_with_group_label_type_and_options(server: HubSpotServer, sink: HubSpotCrm) -> None:
    options = (Option("active", "Active"), Option("pending", "Waiting for us"))
    columns = [
        *plain,
        column("affiliate_status", label="Affiliate status", options=options),
        column("affiliate_tags", "list", options=options),
        column("affiliate_notes", "list"),
        column("affiliate_vip", "boolean"),
        column("affiliate_joined", "date", group="affiliate_dates"),
        column("affiliate_seen", "datetime"),
    ]
    assert all(finding.level == "ok" for finding in sink.provision(target_of(columns)))
    made = server.definitions["contacts"]
    assert {
        name: (made[name]["type"], made[name]["fieldType"], made[name]["groupName"])
        for name in made
        if name.startswith("affiliate_") and name not in ("affiliate_key", "affiliate_balance")
    } == {
        "affiliate_status": ("enumeration", "select", "affiliate_connector"),
        "affiliate_tags": ("enumeration", "checkbox", "affiliate_connector"),
        "affiliate_notes": ("string", "text", "affiliate_connector"),
        "affiliate_vip": ("bool", "booleancheckbox", "affiliate_connector"),
        "affiliate_joined": ("date", "date", "affiliate_dates"),
        "affiliate_seen": ("datetime", "date", "affiliate_connector"),
    }
    assert made["affiliate_status"]["label"] == "Affiliate status"
    assert [each["label"] for each in made["affiliate_status"]["options"]] == ["Active", "Waiting for us"]
    assert server.groups["contacts"]["affiliate_connector"] == "Affiliate program"
    assert server.groups["contacts"]["affiliate_dates"] == "Affiliate dates"


_shown_columns = (
    column("affiliate_key", paths=("id",)),
    column("email", "email", paths=("email",)),
    column("affiliate_visitors", "integer", paths=("stats.visitors",)),
    column("affiliate_balance", "money", "always", paths=("balances.current.cash",)),
    column("affiliate_bonus", "money", paths=("custom.bonus",), currency="EUR"),
    column("affiliate_tier", overwrite="only_if_empty", paths=("custom.tier",)),
    column("affiliate_currency", paths=("currency",)),
)


@both_moods
@pytest.mark.parametrize("makes", ["provision", "write"])
def test_people_see_what_a_property_is_and_amounts_with_their_currency(mode: Mode, makes: str) -> None:
    with HubSpotServer(mode) as server:
        mine = definition("affiliate_visitors", "number", label="Mine", description="typed by a person")
        server.define("contacts", mine)
        sink = sink_of(server)
        if makes == "provision":
            sink.provision(target_of(_shown_columns))
        else:
            sink.write(target_of(_shown_columns), [row(1)])
        sink.close()
        made = server.definitions["contacts"]
        assert made["affiliate_visitors"] == mine
        assert made["affiliate_key"]["description"].endswith(
            ". From the affiliate platform: ID (id). Don't change it: it finds the record."
        )
        assert made["affiliate_balance"]["description"].endswith(
            " From the affiliate platform: Current balance (balances.current.cash). "
            "Don't type here: the platform's value comes back."
        )
        assert made["affiliate_tier"]["description"] == (
            "From the affiliate platform: custom.tier. If you type here: it stays."
        )
        display = ("displayOrder", "numberDisplayHint", "showCurrencySymbol", "currencyPropertyName")
        assert {
            each.name: tuple(made[each.name].get(name) for name in display)
            for each in _shown_columns
            if each.name not in ("email", "affiliate_visitors")
        } == {
            "affiliate_key": (1, None, None, None),
            "affiliate_balance": (4, "currency", True, "affiliate_currency"),
            "affiliate_bonus": (5, "formatted", None, None),
            "affiliate_tier": (6, None, None, None),
            "affiliate_currency": (7, None, None, None),
        }


def test_an_amount_without_a_property_of_its_currency_has_no_symbol(server: HubSpotServer, sink: HubSpotCrm) -> None:
    """HubSpot would show the symbol of the account's currency, and the amount may be in another."""
    columns = [*plain[:3], column("affiliate_paid", "money"), column("affiliate_leads", "integer")]
    sink.provision(target_of(columns))
    for name in ("affiliate_paid", "affiliate_leads"):
        made = server.definitions["contacts"][name]
        assert (made["numberDisplayHint"], "showCurrencySymbol" in made) == ("formatted", False)


def test_an_account_that_does_not_take_how_numbers_are_shown_gets_its_properties(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    server.takes_number_display = False
    assert {each.level for each in sink.provision(target_of(_shown_columns))} == {"ok"}
    made = server.definitions["contacts"]["affiliate_bonus"]
    assert ("numberDisplayHint" in made, made["displayOrder"]) == (False, 5)


@pytest.mark.parametrize(
    ("name", "type", "words"),
    [
        ("hs_marketable_status", "text", "billed"),
        ("hs_calculated_score", "number", "read-only"),
        ("Affiliate Status", "text", '"affiliate_status", with label = "Affiliate Status"'),
        ("lifecyclestage", "number", "is of type enumeration in HubSpot, but number in the mapping"),
    ],
)
def test_a_property_that_can_never_be_written_stops_the_route_in_plain_words(
    server: HubSpotServer, sink: HubSpotCrm, name: str, type: str, words: str
) -> None:
    target = target_of([*plain, column(name, type)])
    with pytest.raises(NeedsAction) as caught:
        sink.write(target, [row(1)])
    assert words in str(caught.value)
    assert [finding.subject for finding in sink.check(target) if finding.level == "problem"] == [name]
    assert [finding.level for finding in sink.provision(target)] == ["problem"]
    assert server.writes == 0


def test_a_key_that_is_not_unique_stops_the_route(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.define("contacts", definition("affiliate_key"))
    with pytest.raises(NeedsAction, match="can be made unique only when it is created"):
        sink.write(target_of(), [row(1)])


def test_also_match_needs_a_unique_property(server: HubSpotServer, sink: HubSpotCrm) -> None:
    target = target_of(also_match=("phone",))
    with pytest.raises(NeedsAction, match="also_match"):
        sink.write(target, [row(1)])
    assert [finding.subject for finding in sink.check(target) if finding.level == "problem"] == ["phone"]


def test_an_option_that_a_colleague_adds_is_known_soon(server: HubSpotServer) -> None:
    host = TestHost()
    sink = sink_of(server, host)
    server.define("contacts", definition("state", "enumeration", options=[("a", "A")]))
    target = target_of([*plain, column("state")])
    assert kinds(sink.write(target, [row(1, state="b")])) == {"refused": 1}
    server.define("contacts", definition("state", "enumeration", options=[("a", "A"), ("b", "B")]))
    host.advance(10)
    assert kinds(sink.write(target, [row(1, state="b")])) == {"written": 1}
    sink.close()


def test_a_refusal_of_every_row_that_names_no_value_is_no_hundred_dead_letters(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    sink.write(target_of(), [row(999)])
    strange = Fault("status", Reply(400, {"category": "VALIDATION_ERROR", "message": "This account is frozen"}))
    server.fault_for = lambda call: strange if call.path.endswith("upsert") else None
    with pytest.raises(NeedsAction, match="This account is frozen"):
        sink.write(target_of(), [row(number) for number in range(100)])
    server.fault_for = lambda call: None
    assert kinds(sink.write(target_of(), [row(number) for number in range(100)])) == {"written": 100}


# ---------------------------------------------------------------- for people


def test_check_shows_every_property_and_the_scopes_that_are_missing(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.scopes -= {"crm.objects.contacts.write", "crm.schemas.contacts.write"}
    target = target_of([*plain, column("affiliate_status")])
    findings = {finding.subject: finding for finding in sink.check(target)}
    assert findings["scopes"].level == "problem"
    assert "crm.objects.contacts.write" in findings["scopes"].text
    assert "crm.schemas.contacts.write" in findings["scopes"].text
    assert findings["affiliate_key"].facts == {
        "type": "string", "exists": "yes", "writable": "yes", "unique": "yes",
        "would be created": "",
    }  # fmt: skip
    assert findings["affiliate_status"].facts["would be created"] == "string, group affiliate_connector"
    assert findings["email"].facts["unique"] == "yes"
    assert server.records["contacts"] == {}
    assert "affiliate_status" not in server.definitions["contacts"]


def test_check_tells_what_stop_would_stop_and_which_options_lack(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.define("contacts", definition("state", "enumeration", options=[("a", "A")]))
    columns = [*plain, column("state", options=(Option("a", "A"), Option("b", "B"))), column("affiliate_status")]
    findings = {finding.subject: finding for finding in sink.check(target_of(columns, missing_columns="stop"))}
    assert "lacks the options b" in findings["state"].text
    assert "connector provision hubspot/contacts" in findings["affiliate_status"].text
    assert {name for name, each in findings.items() if each.level == "problem"} == {"state", "affiliate_status"}


def test_properties_and_choices_that_no_field_fills_are_spare(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.define("contacts", definition("tier", "enumeration", options=[("a", "A"), ("b", "B"), ("c", "C")]))
    server.define("contacts", definition("nickname", "string"))
    columns = [*plain, column("tier", options=(Option("a", "A"), Option("b", "B")))]
    spare = sink.spare(target_of(columns))
    assert [(each.column, each.choice) for each in spare if each.choice] == [("tier", "c")]
    assert "nickname" in [each.column for each in spare]
    assert not {"email", "tier"} & {each.column for each in spare if not each.choice}
    assert not any(each.column.startswith("hs_") for each in spare)
    assert server.records["contacts"] == {}


def test_a_bad_token_leaves_nothing_to_look_at(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.token_state = "EXPIRED_AUTHENTICATION"
    for look in (sink.check, sink.provision):
        with pytest.raises(NeedsAction, match="EXPIRED_AUTHENTICATION"):
            look(target_of())


def test_preview_shows_by_what_a_contact_is_found_and_what_would_change(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    server.add(email="ada1@example.com", firstname="Augusta")
    server.add(affiliate_key="firstpromoter:2", email="ada2@example.com", firstname="Ada")
    server.add(affiliate_key="everflow:9", email="ada4@example.com")
    target = target_of(also_match=("email",))
    writes = server.writes
    changes = {change.key: change for change in sink.preview(target, [row(n) for n in range(1, 6)])}
    assert server.writes == writes
    assert changes["firstpromoter:1"].found_by == "email"
    assert changes["firstpromoter:1"].cells == {
        "firstname": ("Augusta", "Ada 1"),
        "affiliate_key": (None, "firstpromoter:1"),
    }
    assert changes["firstpromoter:2"].found_by == "key"
    assert changes["firstpromoter:2"].cells == {"firstname": ("Ada", "Ada 2")}
    assert changes["firstpromoter:3"].found_by is None
    assert changes["firstpromoter:3"].cells["email"] == (None, "ada3@example.com")
    assert "everflow:9" in changes["firstpromoter:4"].note


def test_preview_names_the_property_by_which_a_contact_was_found(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.define("contacts", definition("member_number", unique=True))
    server.add(member_number="m1", firstname="Ada")
    target = target_of([*plain, column("member_number")], also_match=("email", "member_number"))
    (change,) = sink.preview(target, [row(1, member_number="m1")])
    assert change.found_by == "member_number"


def test_preview_works_before_any_property_exists() -> None:
    with HubSpotServer() as server:
        sink = sink_of(server)
        (change,) = sink.preview(target_of(), [row(1, affiliate_balance=Decimal(3))])
        assert change.found_by is None
        assert change.cells["affiliate_balance"] == (None, Decimal(3))
        assert "affiliate_key" not in server.definitions["contacts"]
        sink.close()


# ---------------------------------------------------------------- companies


company_columns = (column("affiliate_key"), column("name"), column("domain"))


def company_row(number: int) -> Any:
    key = f"everflow:{number}"
    made = row(number)
    return type(made)(key, key, {"affiliate_key": key, "name": f"Engines {number}", "domain": "example.com"})


def companies_of(server: HubSpotServer) -> list[Record]:
    return list(server.records["companies"].values())


def test_companies_are_written_by_a_key_of_their_own(server: HubSpotServer, sink: HubSpotCrm) -> None:
    target = target_of(company_columns, object="companies", route="hubspot/companies")
    assert kinds(sink.write(target, [company_row(1), company_row(2)])) == {"written": 2}
    assert kinds(sink.write(target, [company_row(1)])) == {"written": 1}
    assert sorted(record.properties["name"] for record in companies_of(server)) == ["Engines 1", "Engines 2"]


def test_contacts_are_linked_to_their_companies_in_one_call(server: HubSpotServer, sink: HubSpotCrm) -> None:
    companies = target_of(company_columns, object="companies", route="hubspot/companies")
    sink.write(companies, [company_row(number) for number in range(3)])
    contacts = target_of(company={"key": "id"})
    rows = [row(number, extras={"company.key": f"everflow:{number % 3}"}) for number in range(250)]
    assert kinds(sink.write(contacts, rows)) == {"written": 250}
    assert len(server.associations) == 250
    assert len(server.calls_of("batch/associate/default")) == 1
    sink.write(contacts, rows)  # known by now
    assert len(server.calls_of("batch/associate/default")) == 1


def test_a_contact_waits_for_a_company_that_is_not_there_yet(server: HubSpotServer, sink: HubSpotCrm) -> None:
    contacts = target_of(company={"key": "id"})
    made = row(1, extras={"company.key": "everflow:1"})
    (outcome,) = sink.write(contacts, [made])
    assert (outcome.kind, outcome.code) == ("later", "company_missing")
    sink.write(target_of(company_columns, object="companies", route="hubspot/companies"), [company_row(1)])
    assert kinds(sink.write(contacts, [made])) == {"written": 1}
    assert len(server.associations) == 1
    leave = target_of(company={"key": "id", "if_missing": "leave_alone"})
    assert kinds(sink.write(leave, [row(2, extras={"company.key": "everflow:2"})])) == {"written": 1}


def test_check_tells_whether_companies_can_be_found(server: HubSpotServer, sink: HubSpotCrm) -> None:
    def level(name: str) -> str:
        findings = sink.check(target_of(company={"key": "id", "property": name}))
        return next(finding.level for finding in findings if finding.subject == f"company.{name}")

    assert (level("affiliate_key"), level("not_there_yet"), level("domain")) == ("ok", "notice", "problem")
    contacts = target_of(company={"key": "id", "property": "domain"})
    with pytest.raises(NeedsAction, match="name the key of the companies' mapping"):
        sink.write(contacts, [row(1, extras={"company.key": "everflow:1"})])
    server.scopes.discard("crm.schemas.companies.read")
    problems = [each.text for each in sink.check(contacts) if each.level == "problem"]
    assert len(problems) == 1
    assert "crm.schemas.companies.read" in problems[0]


def test_a_link_that_fails_leaves_the_contact_pending(server: HubSpotServer, sink: HubSpotCrm) -> None:
    sink.write(target_of(company_columns, object="companies", route="hubspot/companies"), [company_row(1)])
    contacts = target_of(company={"key": "id"})
    made = row(1, extras={"company.key": "everflow:1"})
    server.fault_for = lambda call: Fault("reset_after") if "associations" in call.path else None
    (outcome,) = sink.write(contacts, [made])
    assert outcome.kind == "later"
    server.fault_for = lambda call: None
    assert kinds(sink.write(contacts, [made])) == {"written": 1}
    assert len(server.associations) == 1


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"removed_records": "delete"}, "never deletes in HubSpot"),
        ({"marketing": "marketing"}, "billed"),
        ({"object": "deals"}, "contacts"),
        ({"if_several": "first"}, "dead_letter"),
        ({"object": "companies", "company": {"key": "id"}}, "the company of a contact"),
    ],
)
def test_what_the_sink_never_does_is_refused_in_plain_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HubSpotTargetOptions(**options)
    assert words in str(caught.value)


def test_the_token_is_not_shown() -> None:
    options = HubSpotOptions(type="hubspot", mappings=(), access_token="pat-secret")
    assert "pat-secret" not in repr(options)


# ---------------------------------------------------------------- the quota


class SharedClock(TestHost):
    """A clock for several threads: who waits, waits until a moment; naps at the same time don't add up."""

    def __init__(self) -> None:
        super().__init__()
        self._one_at_a_time = threading.Lock()

    def wait(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        with self._one_at_a_time:
            self._seconds = max(self._seconds, until)


@pytest.mark.parametrize("limit", [100, 190, 250])
def test_the_quota_is_used_evenly_and_never_overrun(limit: int) -> None:
    host = SharedClock()
    with HubSpotServer(limit=limit, clock=host.monotonic) as server:
        server.define("contacts", definition("affiliate_key", unique=True), definition("affiliate_balance", "number"))
        sink = sink_of(server, host)
        targets = [target_of(route="hubspot/one"), target_of(route="hubspot/two")]
        contacts = 20_000
        for turn, start in enumerate(range(0, contacts, 400)):
            target = targets[turn % 2]  # the quota is the token's: routes share it
            host.advance(sink.pace(target))
            few = [row(number, firstname=None) for number in range(start, start + 400, 100)]  # four calls, few rows
            for each in few:
                sink.write(target, [each])
        sink.close()
        calls = len(server.calls)
        assert calls >= contacts / 100
        assert server.quota_refusals == 0
        assert host.monotonic() <= 1.3 * calls / limit * 10
        # Evenly: no second sees more than 1.7 times its share.
        seconds = Counter(int(at) for at in server.arrivals)
        assert max(seconds.values()) <= 1.7 * limit / 10


def test_a_fixed_pace_is_kept(server: HubSpotServer) -> None:
    host = SharedClock()
    server.limit, server.clock = 20, host.monotonic
    sink = sink_of(server, host, requests_per_10_seconds=20)
    for number in range(30):  # two calls each
        sink.write(target_of(), [row(number)])
    assert server.quota_refusals == 0
    assert 26 <= host.monotonic() <= 34
    sink.close()


def test_calls_are_in_flight_together_but_never_with_one_contact_twice() -> None:
    with HubSpotServer(latency_seconds=0.2) as server:
        sink = sink_of(server)
        sink.write(target_of(), [row(1)])
        one, two = target_of(route="hubspot/one"), target_of(route="hubspot/two")
        sink.write(two, [row(1)])
        sink.write(one, [row(number) for number in range(800)])
        assert server.most_at_once == 4
        threads = [
            threading.Thread(target=sink.write, args=(target, [row(n) for n in range(150)]))
            for target in (one, two) * 3
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.overlaps == []
        assert server.most_at_once == 4
        assert len(server.records["contacts"]) == 800
        sink.close()


def test_a_stop_ends_a_write_while_calls_hang(server: HubSpotServer) -> None:
    host = TestHost()
    sink = sink_of(server, host, timeout_seconds=10.0)
    sink.write(target_of(), [row(9999)])
    server.fault_for = lambda call: Fault("hang_after")
    host.stop = True
    began = time.monotonic()
    with pytest.raises(Stopping):
        sink.write(target_of(), [row(number) for number in range(800)])
    assert time.monotonic() - began < 8


_stopped = """
import sys
from connector.core.errors import Stopping
from connector.sinks.hubspot.sink import HubSpotCrm, HubSpotOptions
from tests.sinks.host import TestHost
from tests.sinks.hubspot_account import row, target_of
host = TestHost()
options = HubSpotOptions(type="hubspot", mappings=(), access_token=sys.argv[2], base_url=sys.argv[1])
sink = HubSpotCrm("hubspot", options, host)
sink.write(target_of(), [row(9999)])
host.stop = True
try:
    sink.write(target_of(), [row(number) for number in range(800)])
except Stopping:
    print("stopped")
"""


def test_calls_that_hang_do_not_hold_up_the_end_of_the_program(server: HubSpotServer) -> None:
    server.fault_for = lambda call: Fault("hang_after") if call.body.count(b"idProperty") > 1 else None
    command = [sys.executable, "-c", _stopped, server.url, server.token]
    began = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100, cwd=root)
    assert done.stdout == "stopped\n"
    assert time.monotonic() - began < 50, "a call may hang for a minute"


def test_the_client_is_imported_when_its_sink_is_built() -> None:
    code = (
        "import sys\n"
        "import connector.plugins, connector.delivery, connector.receiver, connector.sinks.files.csv_file\n"
        "import connector.sinks.hubspot.sink as room\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('hubspot', 'urllib3')]\n"
        "from connector.assembly import LiveHost\n"
        "import threading\n"
        "room.HubSpotCrm('crm', room.HubSpotOptions(type='hubspot', access_token='x', mappings=[]),"
        " LiveHost('crm', None, threading.Event()))\n"
        "assert 'hubspot' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith(('hubspot.marketing', 'hubspot.cms'))]\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).stderr == b""


# ---------------------------------------------------------------- where a person sees a record


def test_a_contact_has_an_address_in_hubspot(server: HubSpotServer, sink: HubSpotCrm) -> None:
    sink.write(target_of(), [row(1), row(2)])
    found = server.find("affiliate_key", "firstpromoter:2")
    assert found is not None
    server.calls.clear()
    where = sink.address_of(target_of(), row(2))
    assert where == f"https://app-eu1.hubspot.com/contacts/4711/record/0-1/{found.id}"
    assert [call.path for call in server.calls] == ["/crm/v3/objects/contacts/batch/read", "/account-info/v3/details"]


def test_a_company_has_an_address_in_hubspot(server: HubSpotServer, sink: HubSpotCrm) -> None:
    company = server.add("companies", affiliate_key="firstpromoter:1", name="Ada Ltd")
    where = sink.address_of(target_of([column("affiliate_key"), column("name")], object="companies"), row(1))
    assert where == f"https://app-eu1.hubspot.com/contacts/4711/record/0-2/{company.id}"


def test_the_account_is_asked_for_once_in_a_process(server: HubSpotServer) -> None:
    for _ in range(3):
        sink = sink_of(server)
        sink.write(target_of(), [row(1)])
        assert sink.address_of(target_of(), row(1))
        sink.close()
    assert len(server.calls_of("/details")) == 1


def test_a_contact_that_is_not_there_has_no_address(server: HubSpotServer, sink: HubSpotCrm) -> None:
    assert sink.address_of(target_of(), row(1)) is None
    assert server.calls_of("/details") == []


def test_a_token_that_may_not_ask_for_the_account_gives_no_address(server: HubSpotServer, sink: HubSpotCrm) -> None:
    sink.write(target_of(), [row(1)])
    server.scopes.remove("oauth")
    assert sink.address_of(target_of(), row(1)) is None


@pytest.mark.parametrize("account", [{}, {"portalId": 4711, "uiDomain": "hubspot.com.example.org"}])
def test_nobody_is_sent_anywhere_but_to_hubspot(
    server: HubSpotServer, sink: HubSpotCrm, account: dict[str, Any]
) -> None:
    sink.write(target_of(), [row(1)])
    server.account = account
    assert sink.address_of(target_of(), row(1)) is None
