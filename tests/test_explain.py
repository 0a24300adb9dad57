"""`connector explain` tells what happened to one affiliate: each event, what it changed, each delivery, and why."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from connector.affiliates.explain import Entry, explain
from connector.affiliates.find import whom
from connector.core.mapping import Evaluation
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Row
from connector.core.sink import Outcome
from tests.doubles import World, as_row, event
from tests.running import Connector, Nursery


def told(world: World, record_id: str = "plain:7") -> list[Entry]:
    return explain(
        world.store, {"plain": world.source}, world.letters, {"table/all": world.evaluate}, record_id, world.clock()
    )


def texts(entries: list[Entry]) -> list[tuple[str, str]]:
    return [(entry.kind, entry.text.partition(";")[0]) for entry in entries]


def test_each_event_tells_what_it_changed_and_each_delivery_the_row_that_was_sent(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, email="ada@example.com", name="Ada"), event(8, 1, email="bob@example.com"))
    world.deliver()
    world.clock.seconds += 60
    world.say(event(7, 2, email="ada@new.example.com"))
    world.deliver()
    entries = told(world)
    assert sorted(texts(entries)) == [
        ("delivery", "written"),
        ("delivery", "written"),
        ("event", "changed 1 of its fields"),
        ("event", "changed 2 of its fields"),
        ("route", "up to date"),
    ]
    events = [entry for entry in entries if entry.kind == "event"]
    assert events[0].changes == {"email": (None, "ada@example.com"), "name": (None, "Ada")}
    assert events[1].changes == {"email": ("ada@example.com", "ada@new.example.com")}
    deliveries = [entry for entry in entries if entry.kind == "delivery"]
    assert deliveries[1].cells["Email"] == "ada@new.example.com"
    assert all("bob" not in str(entry) for entry in entries)
    world.close()


def test_cells_that_are_empty_in_a_new_row_are_not_told_those_that_become_empty_are(tmp_path: Path) -> None:
    def with_names(record: AffiliateRecord) -> Evaluation:
        cells: dict[str, Cell] = {"ID": record.id, "Name": record.name, "Waits": "yes" if record.name is None else None}
        return Evaluation((Row(record.id, record.id, cells),))

    world = World(tmp_path, evaluate=with_names)
    world.say(event(7, 1, email="ada@example.com"))
    world.deliver()
    world.clock.seconds += 60
    world.say(event(7, 2, name="Ada"))
    world.deliver()
    first, second = (entry.cells for entry in told(world) if entry.kind == "delivery")
    assert first == {"ID": "plain:7", "Waits": "yes"}
    assert second == {"Name": "Ada", "Waits": None}
    world.close()


def test_an_event_that_came_late_is_shown_where_it_came_and_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 5, email="new@example.com"))
    world.say(event(7, 3, email="old@example.com"))
    late = [entry for entry in told(world) if entry.kind == "event"][1]
    assert late.text.startswith("said nothing new; true as of 1970-01-01")
    assert late.changes == {}
    world.close()


def test_what_forgotten_events_said_is_not_put_down_to_later_ones(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, email="ada@example.com", name="Ada"))
    world.clock.seconds += 86_400
    while world.store.prune(world.clock() - timedelta(hours=1)):
        pass
    world.say(event(7, 2, name="Ada Byron"))
    events = [entry for entry in told(world) if entry.kind == "event"]
    assert [entry.changes for entry in events] == [{"name": ("?", "Ada Byron")}]
    world.close()


def test_a_refused_row_is_told_with_its_letter_and_what_to_type(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sink.answer = lambda row: Outcome(row.key, "refused", "no such country", "INVALID_COUNTRY", "Email")
    world.say(event(7, 1, email="ada@example.com"))
    world.deliver()
    entries = told(world)
    (delivery,) = [entry for entry in entries if entry.kind == "delivery"]
    assert delivery.text == "refused (INVALID_COUNTRY)"
    (letter,) = [entry for entry in entries if entry.kind == "letter"]
    assert "no such country (map.toml:7)" in letter.text
    assert f"connector dead-letters replay {world.letters.list()[0].id}" in letter.text
    assert entries[-1].text == "up to date, but for what is a dead letter"
    world.close()


def test_what_is_owed_and_fails_is_told_with_the_next_try(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sink.answer = lambda row: Outcome(row.key, "later", "busy", "BUSY")
    world.say(event(7, 1, email="ada@example.com"))
    world.deliver()
    route = told(world)[-1]
    assert route.kind == "route"
    assert route.text.startswith(
        "pending since 2026-11-20T12:00:00+00:00, 1 tries failed (BUSY), next try at 2026-11-20T"
    )
    world.close()


def test_what_waits_for_a_value_is_shown_as_waiting_and_not_as_failed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sink.answer = lambda row: Outcome(row.key, "incomplete", column="Email", code="incomplete")
    world.say(event(7, 1, name="Ada"))
    world.deliver()
    assert told(world)[-1].text == "waits for Email since 2026-11-20T12:00:00+00:00"
    world.close()


def test_why_there_is_no_row_is_told(tmp_path: Path) -> None:
    def only_others(record: AffiliateRecord) -> Evaluation:
        return as_row(record) if record.name else Evaluation(skipped="no value for the key, ID")

    world = World(tmp_path, evaluate=only_others)
    world.say(event(7, 1, email="ada@example.com"))
    world.deliver()
    assert told(world)[-1].text == "up to date; left out: no value for the key, ID"
    world.close()


def test_a_mapping_that_breaks_does_not_hide_the_rest(tmp_path: Path) -> None:
    def broken(record: AffiliateRecord) -> Evaluation:
        raise ZeroDivisionError(record.email)

    world = World(tmp_path, evaluate=broken)
    world.say(event(7, 1, email="ada@example.com"))
    route = told(world)[-1]
    assert "its mapping fails for this record" in route.text
    assert "ada@" not in route.text
    world.close()


def test_lists_with_ids_are_told_entry_by_entry(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, **{"campaigns[3].name": "Main", "campaigns[3].status": "on"}))
    world.say(event(7, 2, **{"campaigns[3].status": "off"}))
    events = [entry for entry in told(world) if entry.kind == "event"]
    assert events[0].changes["campaigns[3].name"] == (None, "Main")
    assert events[1].changes["campaigns[3].status"] == ("on", "off")
    world.close()


def test_an_affiliate_is_found_by_either_spelling_of_the_address(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, email="ada@b\u00fccher.example"), event(8, 1, email="bob@xn--bcher-kva.example"))
    for word, found in (
        ("ADA@xn--bcher-kva.example", "plain:7"),
        ("ada@b\u00fccher.example\u200b", "plain:7"),
        ("bob@b\u00fccher.example", "plain:8"),
    ):
        assert whom(world.store, ["plain"], word).record_ids == (found,)
    world.close()


def test_rows_that_several_words_mean_are_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, email="Ada@Example.com"), event("x@y", 1, email="eve@example.com"))
    for word in ("plain:7", "7", "ada@example.com", " ADA@example.com "):
        assert whom(world.store, ["plain"], word).record_ids == ("plain:7",)
    assert whom(world.store, ["plain"], "plain:x@y").record_ids == ("plain:x@y",)
    world.close()


# ---------------------------------------------------------------- the command


def test_the_command_prints_a_time_line_for_people_and_for_programs(tmp_path: Path, nursery: Nursery) -> None:
    connector = Connector(tmp_path, nursery).start()

    try:
        person = {"id": 41, "email": "ada@example.com", "status": "active"}
        head = {"id": 1, "type": "promoter_signed_up", "created_at": "2026-11-20T10:00:00Z"}
        connector.send("firstpromoter", {"event": head, "data": {"promoter": person}})
        connector.wait_for({"firstpromoter:41": {"Email": "ada@example.com"}})
        connector.wait_until(lambda: not any(route.pending for route in connector.status().routes))
        shown = connector.command("explain", "ada@example.com", "--all")
        assert shown.returncode == 0
        for word in ("firstpromoter:41", "promoter_signed_up", "email = ada@example.com", "local/local_csv", "written"):
            assert word in shown.stdout
        assert "\n    email = ada@example.com\n" in shown.stdout, "a line fits a terminal"
        listed = json.loads(connector.command("explain", "41", "--json").stdout)
        assert [entry["kind"] for entry in listed["affiliates"]["firstpromoter:41"]] == ["event", "delivery", "route"]
        nobody = connector.command("explain", "eve@example.com")
        assert nobody.returncode == 1
        assert 'No affiliate has the name, ID or e-mail "eve@example.com"' in nobody.stderr
    finally:
        connector.kill()


def test_a_row_that_needs_no_call_is_no_delivery(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, email="ada@example.com"))
    world.deliver()
    world.say(event(7, 2, name="Ada"))  # not in the table
    world.deliver()
    assert [entry.kind for entry in told(world)].count("delivery") == 1
    world.close()
