"""What people typed in HubSpot, and what becomes of it: edits that stay, edits that are overwritten, and undo."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from connector.core.errors import TryLater
from connector.core.row import Overwrite, Row
from connector.sinks.hubspot.sink import HubSpotCrm
from tests.far_sides.hubspot_server import HubSpotServer, Mode, definition
from tests.far_sides.loopback import Fault
from tests.sinks.hubspot_account import Written, column, kinds, plain, row, sink_of, target_of


@pytest.fixture(params=["207", "400"])
def server(request: pytest.FixtureRequest) -> Iterator[HubSpotServer]:
    mode: Mode = request.param
    with HubSpotServer(mode) as server:
        server.define("contacts", definition("affiliate_key", unique=True), definition("affiliate_balance", "number"))
        yield server


@pytest.fixture
def sink(server: HubSpotServer) -> Iterator[HubSpotCrm]:
    sink = sink_of(server)
    yield sink
    sink.close()


def contact(server: HubSpotServer, number: int = 1) -> dict[str, str]:
    record = server.find("affiliate_key", f"firstpromoter:{number}")
    assert record is not None
    return record.properties


# ---------------------------------------------------------------- edits


def test_what_hubspot_makes_of_our_values_is_no_edit(server: HubSpotServer, sink: HubSpotCrm) -> None:
    written, target = Written(), target_of()
    written.write(sink, target, row(1, email="Ada@Example.COM", affiliate_balance=Decimal("12.50")))
    contact(server)["affiliate_balance"] = "12.5"  # as HubSpot shows it
    for balance in ("12.50", "13.00"):
        made = row(1, email="Ada@Example.COM", affiliate_balance=Decimal(balance), firstname=balance)
        (outcome,) = written.write(sink, target, made).values()
        assert (outcome.kept, outcome.overwritten) == ((), ())
    assert contact(server)["affiliate_balance"] == "13.00"
    assert outcome.former == {"affiliate_balance": "12.5", "firstname": "12.50"}


def test_what_hubspot_holds_instead_of_ours_is_the_base_of_the_next_write(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    written, target = Written(), target_of([*plain[:2], column("lifecyclestage", overwrite="always")])
    server.add(affiliate_key="firstpromoter:1", lifecyclestage="customer")
    (outcome,) = written.write(sink, target, row(1, lifecyclestage="lead")).values()
    assert outcome.held == {"lifecyclestage": "customer"}
    (outcome,) = written.write(sink, target, row(1, lifecyclestage="evangelist")).values()
    assert (outcome.overwritten, outcome.held) == ((), {})
    assert contact(server)["lifecyclestage"] == "evangelist"


@pytest.mark.parametrize("rule", ["never_clear", "only_if_empty", "on_create", "only_forward", "always"])
def test_an_edit_stays_while_the_platform_says_nothing_new(
    server: HubSpotServer, sink: HubSpotCrm, rule: Overwrite
) -> None:
    order = ("Ada", "Augusta", "Grace") if rule == "only_forward" else ()
    written, target = Written(), target_of([*plain[:2], column("firstname", overwrite=rule, order=order), plain[3]])
    written.write(sink, target, row(1, firstname="Augusta"))
    contact(server)["firstname"] = "Ada"
    (outcome,) = written.write(sink, target, row(1, firstname="Augusta", phone="+442071838750")).values()
    assert contact(server)["phone"] == "+442071838750"
    if rule == "always":
        assert (contact(server)["firstname"], outcome.overwritten, outcome.kept) == ("Augusta", ("firstname",), ())
        assert outcome.former == {"firstname": "Ada", "phone": None}
    else:
        assert (contact(server)["firstname"], outcome.overwritten, outcome.kept) == ("Ada", (), ("firstname",))
        assert outcome.former == {"phone": None}
    # Something new: the rule decides, and what a person loses is kept.
    (outcome,) = written.write(sink, target, row(1, firstname="Grace")).values()
    wins = rule in ("never_clear", "only_forward", "always")
    assert contact(server)["firstname"] == ("Grace" if wins else "Ada")
    if rule in ("never_clear", "only_forward"):
        assert (outcome.overwritten, outcome.former) == (("firstname",), {"firstname": "Ada"})
    # What was kept is no base of ours: an edit stays an edit.
    (outcome,) = written.write(sink, target, row(1, firstname="Grace", phone="+442071838751")).values()
    assert contact(server)["firstname"] == ("Grace" if wins else "Ada")


def test_a_cell_that_people_emptied_stays_empty_until_the_platform_has_something_new(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    written, target = Written(), target_of()
    written.write(sink, target, row(1))
    contact(server)["firstname"] = ""
    written.write(sink, target, row(1, phone="+442071838750"))
    assert contact(server)["firstname"] == ""
    (outcome,) = written.write(sink, target, row(1, firstname="Grace")).values()
    assert (contact(server)["firstname"], outcome.overwritten) == ("Grace", ())


def test_a_value_whose_answer_was_lost_is_ours(server: HubSpotServer, sink: HubSpotCrm) -> None:
    written, target = Written(), target_of()
    written.write(sink, target, row(1))
    server.fault_for = lambda call: Fault("reset_after") if call.path.endswith("upsert") else None
    with pytest.raises(TryLater):
        written.write(sink, target, row(1, firstname="Lost"))
    server.fault_for = lambda call: None
    assert contact(server)["firstname"] == "Lost"
    (outcome,) = written.write(sink, target, row(1, firstname="Ada 1")).values()
    assert (contact(server)["firstname"], outcome.overwritten, outcome.kept) == ("Ada 1", (), ())


def test_what_a_write_without_an_answer_did_is_told_by_the_next_one(server: HubSpotServer, sink: HubSpotCrm) -> None:
    written, target = Written(), target_of()

    def lost(made: Row) -> None:
        server.fault_for = lambda call: Fault("reset_after") if call.path.endswith("upsert") else None
        with pytest.raises(TryLater):
            written.write(sink, target, made)
        server.fault_for = lambda call: None

    lost(row(1))
    contact(server)["phone"] = "+442071838750"
    (outcome,) = written.write(sink, target, row(1)).values()
    assert (outcome.added, outcome.former, outcome.overwritten) == (True, {}, ())
    (outcome,) = written.write(sink, target, row(1, firstname="Ada")).values()
    assert (outcome.added, outcome.former) == (False, {"firstname": "Ada 1"})
    contact(server)["firstname"] = "typed by a person"
    lost(row(1, firstname="Grace"))  # what people typed is noted before each write: see the promises
    (outcome,) = written.write(sink, target, row(1, firstname="Grace")).values()
    assert (outcome.added, outcome.former, outcome.kept) == (False, {"firstname": "Ada"}, ())


def test_a_merge_is_no_edit_of_the_address_and_an_address_that_people_chose_stays(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    written, target = Written(), target_of(also_match=("email",))
    written.write(sink, target, row(1))
    there = server.find("affiliate_key", "firstpromoter:1")
    assert there is not None
    server.merge(there, server.add(email="customer@example.com"))
    there.properties.update(email="customer@example.com", hs_additional_emails="ada1@example.com")
    server.define("contacts")
    (outcome,) = written.write(sink, target, row(1, firstname="Ada")).values()
    assert (there.properties["email"], outcome.kept) == ("customer@example.com", ())
    there.properties.update(email="typed@example.com", hs_additional_emails="")
    server.define("contacts")
    (outcome,) = written.write(sink, target, row(1, firstname="Grace")).values()
    assert (there.properties["email"], outcome.kept) == ("typed@example.com", ("email",))


@pytest.mark.parametrize("rule", ["never_clear", "always"])
def test_a_value_that_hubspot_does_not_take_is_no_base(
    server: HubSpotServer, sink: HubSpotCrm, rule: Overwrite
) -> None:
    server.define("contacts", definition("state", "enumeration", options=[("a", "A"), ("b", "B")]))
    written, target = Written(), target_of([*plain[:3], column("state", overwrite=rule, on_error="leave_empty")])
    (outcome,) = written.write(sink, target, row(1, state="c")).values()
    assert (outcome.kind, outcome.held) == ("written", {"state": None})
    written.write(sink, target, row(1, state="a"))
    assert contact(server)["state"] == "a"
    (outcome,) = written.write(sink, target, row(1, state="c")).values()
    # It stays under never_clear, as an empty value does, and is ours.
    assert (contact(server).get("state"), outcome.held) == (
        ("a", {"state": "a"}) if rule == "never_clear" else ("", {"state": None})
    )
    (outcome,) = written.write(sink, target, row(1, state="b")).values()
    assert (contact(server)["state"], outcome.overwritten) == ("b", ())


def test_a_contact_that_was_left_out_is_filled_where_it_is_empty_once_it_is_there(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    written, target = Written(), target_of(new_records="update_only")
    (outcome,) = written.write(sink, target, row(1, phone="+442071838750")).values()
    assert outcome.held == {"affiliate_key": None, "email": None, "firstname": None, "phone": None}
    server.add(affiliate_key="firstpromoter:1", firstname="Augusta")
    written.write(sink, target, row(1, phone="+442071838750", affiliate_balance=Decimal(5)))
    there = contact(server)
    assert (there["firstname"], there["phone"], there["email"]) == ("Augusta", "+442071838750", "ada1@example.com")


def test_new_contacts_say_so_and_those_that_were_there_say_what_they_held(
    server: HubSpotServer, sink: HubSpotCrm
) -> None:
    server.add(email="ada2@example.com", firstname="Augusta")
    written, target = Written(), target_of(also_match=("email",))
    outcomes = written.write(sink, target, row(1), row(2))
    assert [outcomes[f"firstpromoter:{n}"].added for n in (1, 2)] == [True, False]
    assert outcomes["firstpromoter:1"].former == {}
    assert outcomes["firstpromoter:2"].former == {"firstname": "Augusta"}


# ---------------------------------------------------------------- undo


def test_undo_puts_back_what_was_there_and_leaves_what_people_changed(server: HubSpotServer, sink: HubSpotCrm) -> None:
    columns = [*plain, column("jobtitle", overwrite="on_create"), column("affiliate_tags", "list", "only_if_empty")]
    written, target = Written(), target_of(columns, also_match=("email",))
    server.add(email="ada1@example.com", firstname="Augusta", jobtitle="CEO", affiliate_balance="7.5")
    cells: dict[str, Any] = {"affiliate_balance": Decimal("12.50"), "affiliate_tags": ("vip", "uk"),
                              "phone": "+442071838750"}  # fmt: skip
    written.write(sink, target, row(1, **cells))
    contact(server)["phone"] = "typed since"
    back, writes = written(written.undo("firstpromoter:1")), server.writes
    for _ in range(2):  # undone twice, it does nothing more
        (undone,) = sink.write(target, [back])
        assert (undone.kind, undone.kept) == ("written", ("phone",))
        there = contact(server)
        assert (there["firstname"], there["jobtitle"], there["affiliate_balance"]) == ("Augusta", "CEO", "7.5")
        assert (there["affiliate_tags"], there["phone"], there["email"]) == ("", "typed since", "ada1@example.com")
    assert server.writes == writes + 1


def test_undo_empties_a_contact_that_we_added_and_deletes_nobody(server: HubSpotServer, sink: HubSpotCrm) -> None:
    written, target = Written(), target_of()
    outcomes = written.write(sink, target, row(1, phone="+442071838750"), row(2))
    contact(server)["firstname"] = "typed since"
    contact(server)["lastname"] = "theirs"
    undone = sink.write(target, [written(written.undo(key)) for key in outcomes])
    assert kinds(undone) == {"written": 2}
    assert {each.key: each.kept for each in undone} == {"firstpromoter:1": ("firstname",), "firstpromoter:2": ()}
    there = {name: value for name, value in contact(server).items() if value}
    assert there == {"affiliate_key": "firstpromoter:1", "firstname": "typed since", "lastname": "theirs"}
    assert {name: value for name, value in contact(server, 2).items() if value} == {"affiliate_key": "firstpromoter:2"}
    assert len(server.records["contacts"]) == 2


def test_companies_keep_what_people_typed_and_are_emptied_not_deleted(server: HubSpotServer, sink: HubSpotCrm) -> None:
    server.define("companies", definition("affiliate_key", unique=True))
    columns = (column("affiliate_key"), column("name"), column("domain"))
    written, target = Written(), target_of(columns, object="companies", route="hubspot/companies")

    def company(name: str, domain: str) -> Row:
        return Row("x:1", "x:1", {"affiliate_key": "x:1", "name": name, "domain": domain})

    written.write(sink, target, company("Engines", "one.example.com"))
    (there,) = server.records["companies"].values()
    there.properties["name"] = "Engines Ltd"
    (outcome,) = written.write(sink, target, company("Engines", "two.example.com")).values()
    assert (there.properties["name"], there.properties["domain"]) == ("Engines Ltd", "two.example.com")
    assert (outcome.kept, outcome.former) == (("name",), {"domain": "one.example.com"})
    back = Row("x:1", "x:1", {"affiliate_key": "x:1"}, remove=True, restore=True)
    (undone,) = written.write(sink, target, back).values()
    assert undone.kept == ("name",)
    assert {name: value for name, value in there.properties.items() if value} == {
        "affiliate_key": "x:1", "name": "Engines Ltd",
    }  # fmt: skip


def test_undo_makes_no_contact_that_people_deleted(server: HubSpotServer, sink: HubSpotCrm) -> None:
    written, target = Written(), target_of()
    written.write(sink, target, row(1), row(2))
    written.write(sink, target, row(2, firstname="Grace"))
    server.records["contacts"].clear()
    server.define("contacts")
    undone = {each.key: each for each in sink.write(target, [written(written.undo(key)) for key in written.last])}
    assert {each.kind for each in undone.values()} == {"written"}
    assert undone["firstpromoter:2"].kept == ("firstname",)
    assert server.records["contacts"] == {}


def test_a_row_that_is_to_be_removed_without_undo_is_refused(server: HubSpotServer, sink: HubSpotCrm) -> None:
    (outcome,) = sink.write(target_of(), [replace(row(1), remove=True)])
    assert (outcome.kind, outcome.code) == ("refused", "NOT_DELETED")


def test_the_preview_of_an_undo_shows_what_would_be_put_back(server: HubSpotServer, sink: HubSpotCrm) -> None:
    written, target = Written(), target_of()
    written.write(sink, target, row(1), row(2))
    written.write(sink, target, row(1, firstname="Grace"))
    back = [written(written.undo("firstpromoter:1"))]
    writes = server.writes
    (change,) = sink.preview(target, back)
    assert change.cells == {"firstname": ("Grace", "Ada 1")}
    contact(server)["firstname"] = "typed since"
    (change,) = sink.preview(target, back)
    assert (change.cells, server.writes) == ({}, writes)
