"""The same in HubSpot: edits wait, the first sync waits, and an undo empties contacts instead of deleting them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.changes.notes import held_of
from connector.cli.main import run
from tests.changes.place import CONFIG, Place, running, until
from tests.far_sides.hubspot_server import HubSpotServer

MAPPING = """
[target]
object = "contacts"
[key]
field = "affiliate_key"
also_match = ["email"]
[fields]
"affiliate_key" = "id"
"email" = "email"
"affiliate_word" = { value = "Active" }
"""


class HubSpot(Place):
    route = "crm/people"

    def __init__(self, folder: Path, server: HubSpotServer) -> None:
        self.server = server
        sink = (
            f'[sinks.crm]\ntype = "hubspot"\naccess_token = "{server.token}"\nbase_url = "{server.url}"\n'
            'mappings = ["people.toml"]\n'
        )
        super().__init__(folder, CONFIG.partition("[sinks")[0] + sink, MAPPING)

    def words(self) -> dict[str, str | None]:
        """``affiliate_word`` by e-mail address, of every contact that there is."""
        contacts = self.server.records["contacts"].values()
        return {found.properties["email"]: found.properties.get("affiliate_word") for found in contacts}


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


def test_contacts_that_were_added_are_emptied_not_deleted(crm: HubSpot, capsys: pytest.CaptureFixture[str]) -> None:
    crm.receive(1)
    crm.drain()
    code, out = typed(capsys, crm, "undo", "crm/people", "--since", "1 hour ago", "--yes")
    assert code == 0
    assert "1 contact that we added is emptied of our values, not deleted" in " ".join(out.split())
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
