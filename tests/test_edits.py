"""What people type into our cells, from the webhook to the terminal: kept, overwritten with a trace, forgotten."""

from __future__ import annotations

import csv
import json
from contextlib import chdir, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connector import config
from connector.assembly import build_sources
from connector.cli.main import run
from connector.core.source import InboundRequest
from connector.store import Store

_TOKEN = "t0ken-of-the-tests-7c1Zq-x"


class Folder:
    """An installation with one table, whose commands are typed here."""

    def __init__(self, path: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.path, self._capture = path, capture
        self.out = ""
        self._events = 0
        (path / "map.toml").write_text(
            '[target]\n[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n"Name" = "name"\n"Email" = "email"\n'
            '"Company" = { from = "company", overwrite = "only_if_empty" }\n',
            encoding="utf-8",
        )
        (path / "config.toml").write_text(
            f'[sources.fp]\ntype = "firstpromoter"\ntoken = "{_TOKEN}"\n'
            '[sinks.local]\ntype = "csv"\npath = "a.csv"\nmappings = ["map.toml"]\n',
            encoding="utf-8",
        )
        self.table = path / "a.csv"

    def type(self, *words: str) -> int:
        with chdir(self.path):
            code = run(words)
        self.out = self._capture.readouterr().out
        return code

    def store(self) -> Store:
        return Store(f"sqlite:///{self.path}/data/connector.db", worker=False, now=lambda: datetime.now(UTC))

    def says(self, number: int, **profile: Any) -> None:
        """The platform says something new, and it is delivered."""
        self._events += 1
        body = {
            "event": {
                "id": self._events,
                "type": "promoter_updated",
                "created_at": f"2026-11-20T12:00:{self._events:02}Z",
            },
            "data": {"promoter": {"id": number, **profile}},
        }
        with chdir(self.path):
            source = build_sources(config.load(self.path / "config.toml", {}))["fp"]
            (self.path / "data").mkdir(exist_ok=True)
            request = InboundRequest(
                [(b"authorization", f"Bearer {_TOKEN}".encode())], b"", json.dumps(body).encode(), datetime.now(UTC)
            )
            with closing(self.store()) as store:
                store.append([source.accept(request)])
        assert self.type("drain") == 0

    def cells(self, key: str) -> dict[str, str]:
        with self.table.open(newline="", encoding="utf-8") as file:
            return next(row for row in csv.DictReader(file) if row["ID"] == key)

    def edits(self, old: str, new: str) -> None:
        text = self.table.read_text(encoding="utf-8")
        assert old in text
        self.table.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path, capsys)


def test_what_people_typed_stays_is_overwritten_with_a_trace_and_is_forgotten(folder: Folder) -> None:
    folder.says(1, profile={"first_name": "Ada"}, email="ada@example.com")
    folder.says(2, profile={"first_name": "Bob"}, email="bob@example.com")
    assert folder.cells("fp:1")["Name"] == "Ada"
    folder.edits("Ada", "Countess of Lovelace")
    folder.says(1, email="ada@new.example.com")
    assert (folder.cells("fp:1")["Name"], folder.cells("fp:1")["Email"]) == (
        "Countess of Lovelace",
        "ada@new.example.com",
    )
    assert folder.type("explain", "fp:1") == 0
    assert "  Name   what people typed " in folder.out
    assert folder.type("explain", "--overwritten", "local/map") == 0
    assert folder.out == "Nothing that people typed in local/map was overwritten in 30 days.\n"

    # A resync keeps it; what the platform says anew does not, and leaves a trace.
    assert folder.type("resync", "local/map") == 0
    assert folder.type("drain") == 0
    assert folder.cells("fp:1")["Name"] == "Countess of Lovelace"
    folder.says(1, profile={"first_name": "Augusta"})
    assert folder.cells("fp:1")["Name"] == "Augusta"
    assert folder.type("explain", "--overwritten", "local/map") == 0
    lines = folder.out.splitlines()
    assert lines[0] == "1 cell typed by people was overwritten in local/map."
    assert lines[1].startswith("  fp:1  ")
    assert lines[2:] == ["    Name: Countess of Lovelace \u2192 Augusta"]
    folder.type("explain", "--overwritten", "local/map", "--json")
    answer = json.loads(folder.out)
    (edit,) = answer["edits"]
    assert (answer["cells"], edit["record_id"], edit["column"], edit["typed"], edit["written"]) == (
        1, "fp:1", "Name", "Countess of Lovelace", "Augusta",
    )  # fmt: skip
    assert folder.type("status") == 0
    assert "1 edit by people was overwritten" in folder.out
    assert "connector explain --overwritten local/map" in folder.out
    assert folder.type("explain", "fp:1", "--all") == 0
    assert "    Name: Countess of Lovelace \u2192 Augusta (what people had typed)\n" in folder.out
    assert "    Email: ada@example.com \u2192 ada@new.example.com\n" in folder.out
    assert f"; delivery {edit['delivery']}\n" in folder.out
    with closing(folder.store()) as store:
        assert store.overwritten_of("local/map") == 1
        assert [line.key for line in store.delivery("local/map", edit["delivery"])] == ["fp:1"]

    # Former values are people's data.
    assert folder.type("forget", "fp:1", "--yes") == 0
    assert folder.type("explain", "--overwritten", "local/map") == 0
    assert "Lovelace" not in folder.out
    for file in (folder.path / "data").iterdir():
        assert b"Lovelace" not in file.read_bytes(), file
    assert folder.cells("fp:2")["Name"] == "Bob"


def test_a_resync_that_overwrites_edits_does(folder: Folder) -> None:
    folder.says(1, profile={"first_name": "Ada", "company_name": "Engines"})
    folder.edits("Ada", "typed")
    folder.edits("Engines", "Mills")
    assert folder.type("resync", "local/map", "--overwrite-edits") == 0
    assert folder.type("drain") == 0
    assert (folder.cells("fp:1")["Name"], folder.cells("fp:1")["Company"]) == ("Ada", "Mills")  # as the rules say


def test_explain_wants_an_affiliate_or_a_route(folder: Folder) -> None:
    assert folder.type("explain") == 2
    assert folder.type("explain", "ada", "--overwritten", "local/map") == 2
    assert folder.type("explain", "--overwritten", "local/mapp") == 2
    assert folder.type("explain", "--overwritten", "local/map") == 0  # before the first start
