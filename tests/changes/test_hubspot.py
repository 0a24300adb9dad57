"""The same in HubSpot: edits wait, the first sync waits, and an undo empties contacts instead of deleting them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.changes.notes import held_of
from connector.cli.main import run
from connector.core.row import load_cells
from tests.changes.place import HubSpot, running
from tests.far_sides.hubspot_server import HubSpotServer
from tests.far_sides.loopback import Fault, Reply
from tests.running import until


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[HubSpot]:
    with HubSpotServer() as server:
        yield HubSpot(tmp_path, server)


def typed(capsys: pytest.CaptureFixture[str], place: HubSpot, *words: str) -> tuple[int, str]:
    code = run([*words, "--config", str(place.folder / "config.toml")])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_an_edit_waits_is_applied_and_taken_back(crm: HubSpot, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        crm.receive(number)
    crm.drain()
    assert crm.words() == {f"p{n}@example.com": "Active" for n in (1, 2)}
    with running(crm):
        crm.edit('"Active"', '"Aboard"')
        until(lambda: held_of(crm.stored()))
        code, out = typed(capsys, crm, "plan", "crm/people")
        assert (code, out.splitlines()[0]) == (
            1, "2 cells in 2 contacts would change. Nothing is written yet.",
        )  # fmt: skip
        assert out.splitlines()[1] == "  Contacts  0 new, 0 leaving, 0 unchanged"
        code, out = typed(capsys, crm, "apply", "crm/people")
        assert (code, out.splitlines()[0]) == (0, "✓ crm/people: 2 cells written in 2 contacts.")
        assert crm.words() == {f"p{n}@example.com": "Aboard" for n in (1, 2)}
        (command,) = re.findall(r"connector (undo .*)", out)
        code, out = typed(capsys, crm, *command.split(), "--yes")
        assert (code, out.splitlines()[0]) == (0, "2 cells in 2 contacts would get their former values back.")
        assert crm.words() == {f"p{n}@example.com": "Active" for n in (1, 2)}


def test_what_a_person_typed_is_in_the_log_though_the_answer_to_overwriting_it_was_lost(
    crm: HubSpot, capsys: pytest.CaptureFixture[str]
) -> None:
    crm.receive(1)
    crm.drain()
    (contact,) = crm.server.records["contacts"].values()
    crm.server.edit(contact, email="typed@example.com")
    crm.receive(1, email="new@example.com")
    faults = iter([Fault("status_after", Reply(503, {"message": "busy"}))])
    crm.server.fault_for = lambda call: next(faults, None) if call.path.endswith("/batch/upsert") else None
    crm.drain()
    assert contact.properties["email"] == "new@example.com"
    with crm.store() as store:
        lines = store.deliveries_since(crm.route, datetime(2026, 1, 1, tzinfo=UTC))
        lost = [load_cells(line.former) for line in lines if line.overwritten]
    assert lost == [{"email": "typed@example.com"}]
    assert typed(capsys, crm, "undo", "crm/people", "--delivery", lines[0].delivery, "--yes")[0] == 0
    assert contact.properties["email"] == "typed@example.com"


def test_a_word_that_is_no_choice_of_the_property_is_reported_before_and_after(
    crm: HubSpot, capsys: pytest.CaptureFixture[str]
) -> None:
    crm.edit('{ value = "Active" }', '{ from = "status", map = { active = "Active", "*" = "Other" } }')
    for number in (1, 2):
        crm.receive(number)
    crm.drain()
    with running(crm):
        crm.edit('"Active"', '"Aboard"')
        until(lambda: held_of(crm.stored()))
        code, out = typed(capsys, crm, "plan", "crm/people")
        assert code == 1
        assert "· Whether the choices of affiliate_word there include these words is known with" in out
        code, out = typed(capsys, crm, "plan", "crm/people", "--live")
        assert code == 0
        assert out == (
            "Nothing would change.\n"
            "  Contacts  0 new, 0 leaving, 2 unchanged\n"
            "· 2 values of affiliate_word do not fit and are not written (people.toml:10)\n"
        )
        code, out = typed(capsys, crm, "apply", "crm/people")
        assert (code, out) == (
            0,
            "✓ crm/people: applied; there was nothing to write.\nNext: connector explain --left-empty crm/people\n",
        )
        assert crm.words() == {f"p{n}@example.com": "Active" for n in (1, 2)}


def test_what_an_undo_leaves_to_a_person_stays_when_the_route_continues(
    crm: HubSpot, capsys: pytest.CaptureFixture[str]
) -> None:
    crm.edit('{ value = "Active" }', '"status"')
    crm.receive(1)
    crm.drain()
    crm.receive(1, email="new@example.com", status="pending")
    crm.drain()
    (contact,) = crm.server.records["contacts"].values()
    crm.server.edit(contact, email="typed@example.com")
    with crm.store() as store:
        line = max(store.deliveries_of("fp:1"), key=lambda line: line.id)
    out = typed(capsys, crm, "undo", "crm/people", "--delivery", line.delivery, "--yes")[1]
    assert "1 cell put back" in out
    assert (contact.properties["email"], contact.properties["affiliate_word"]) == ("typed@example.com", "active")
    assert typed(capsys, crm, "resume", "crm/people")[0] == 0
    crm.drain()
    assert contact.properties["affiliate_word"] == "pending"
    assert contact.properties["email"] == "typed@example.com"  # the platform has sent nothing since it was typed


def test_contacts_that_were_added_are_emptied_not_deleted(crm: HubSpot, capsys: pytest.CaptureFixture[str]) -> None:
    crm.receive(1)
    crm.drain()
    code, out = typed(capsys, crm, "undo", "crm/people", "--since", "1 hour ago", "--yes")
    assert code == 0
    assert "1 contact that we added would be emptied of our values, not deleted." in " ".join(out.split())
    assert out.count("that we added") == 1
    (contact,) = crm.server.records["contacts"].values()
    assert not contact.properties.get("affiliate_word")


def test_the_first_sync_waits_where_contacts_are_there_already(
    crm: HubSpot, capsys: pytest.CaptureFixture[str]
) -> None:
    crm.server.add(email="p1@example.com", firstname="Ada")
    whole = (crm.folder / "config.toml").read_text(encoding="utf-8")
    (crm.folder / "local.toml").write_text('[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n', encoding="utf-8")
    local = '[sinks.local]\ntype = "csv"\npath = "table.csv"\nmappings = ["local.toml"]\n'
    (crm.folder / "config.toml").write_text(whole.partition("[sinks")[0] + local, encoding="utf-8")
    crm.receive(1)
    crm.receive(2)
    crm.drain()
    (crm.folder / "config.toml").write_text(whole + local, encoding="utf-8")
    with running(crm):
        until(lambda: held_of(crm.stored()))
        assert crm.words() == {"p1@example.com": None}
        assert typed(capsys, crm, "apply", "crm/people")[0] == 0
        assert crm.words() == {f"p{n}@example.com": "Active" for n in (1, 2)}


def test_the_first_backfill_waits_where_contacts_are_there_already(
    crm: HubSpot, capsys: pytest.CaptureFixture[str]
) -> None:
    crm.server.add(email="p1@example.com", affiliate_word="VIP")
    with running(crm):
        crm.receive(4)  # a new installation
        until(lambda: crm.words().get("p4@example.com") == "Active")
        for number in (1, 2):
            crm.read_from_the_api(number)
        until(lambda: held_of(crm.stored()))
        code, out = typed(capsys, crm, "plan", "crm/people")
        assert code == 1
        assert "VIP → Active" in out
        assert crm.words() == {"p4@example.com": "Active", "p1@example.com": "VIP"}
        assert typed(capsys, crm, "apply", "crm/people")[0] == 0
        assert crm.words() == {f"p{n}@example.com": "Active" for n in (1, 2, 4)}
