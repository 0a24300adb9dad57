"""What helps while a mapping is written: values that do not fit, what there is to map, what would be written."""

from __future__ import annotations

import json
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

import pytest

from connector import config
from connector.assembly import build_sources
from connector.cli.main import run
from connector.core.source import InboundRequest
from connector.overview import overview
from connector.store import Store
from tests.running import now

_TOKEN = "t0ken-of-the-tests-7c1Zq-x"
_FIELDS = '"Name" = "name"\n"Email" = { from = "email", type = "email" }\n"Size" = "custom.size"\n'


class Folder:
    """An installation with one table, whose commands are typed here."""

    def __init__(self, path: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.path, self._capture = path, capture
        self.out = self.err = ""
        self._events = 0
        self.map(_FIELDS)
        (path / "config.toml").write_text(
            f'[sources.fp]\ntype = "firstpromoter"\ntoken = "{_TOKEN}"\n'
            '[sinks.local]\ntype = "csv"\npath = "a.csv"\nmappings = ["map.toml"]\n',
            encoding="utf-8",
        )

    def map(self, fields: str) -> None:
        text = f'[key]\nfield = "ID"\n[fields]\n{fields}"ID" = "id"\n'
        (self.path / "map.toml").write_text(text, encoding="utf-8")

    def type(self, *words: str) -> int:
        with chdir(self.path):
            code = run(words)
        self.out, self.err = self._capture.readouterr()
        return code

    def type_for_json(self, *words: str) -> Any:
        self.type(*words, "--json")
        return json.loads(self.out)

    def store(self) -> Store:
        return Store(f"sqlite:///{self.path}/data/connector.db", worker=False, now=now)

    def body(self, number: int, **promoter: Any) -> bytes:
        self._events += 1
        event = {"id": self._events, "type": "promoter_updated", "created_at": f"2026-11-20T12:{self._events:02}:00Z"}
        return json.dumps({"event": event, "data": {"promoter": {"id": number, **promoter}}}).encode()

    def receive(self, number: int, **promoter: Any) -> None:
        with chdir(self.path):
            source = build_sources(config.load(self.path / "config.toml", {}))["fp"]
            (self.path / "data").mkdir(exist_ok=True)
            headers = [(b"authorization", f"Bearer {_TOKEN}".encode())]
            request = InboundRequest(headers, b"", self.body(number, **promoter), now())
            with closing(self.store()) as store:
                store.append([source.accept(request)])
        assert self.type("drain") == 0

    def left_empty(self) -> int:
        settings = config.load(self.path / "config.toml", {})
        with closing(self.store()) as store:
            (route,) = overview(settings, store, [], now()).routes
        return route.left_empty


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path, capsys)


# ---------------------------------------------------------------- values that do not fit


def test_values_that_do_not_fit_are_counted_as_long_as_they_do_not(folder: Folder) -> None:
    folder.receive(1, email="nobody", profile={"first_name": "Ada"})
    folder.receive(2, email="b@example.com")
    assert folder.left_empty() == 1
    assert folder.type("status") == 0
    assert "local/map  1 cell left empty: its value does not fit" in folder.out
    assert "connector explain --left-empty local/map" in " ".join(folder.out.split())
    assert folder.type("explain", "--left-empty", "local/map") == 0
    assert folder.out.splitlines() == [
        "1 value of 1 affiliate does not fit: the cells are left empty.",
        "  fp:1",
        '    Email: "nobody" is not an e-mail address; correct it at the platform (map.toml:5)',
    ]
    folder.receive(1, email="nobody else")  # the cell stays empty: no row is written, the count stays
    assert folder.left_empty() == 1
    folder.receive(1, email="ada@example.com")
    assert folder.left_empty() == 0
    assert folder.type("explain", "--left-empty", "local/map") == 0
    assert folder.out == "Every value fits its cell in local/map.\n"
    assert folder.type("explain", "fp:1", "--left-empty", "local/map") == 2


def test_forgetting_an_affiliate_forgets_its_count(folder: Folder) -> None:
    folder.receive(1, email="nobody")
    assert folder.left_empty() == 1
    assert folder.type("forget", "fp:1", "--yes") == 0
    assert folder.left_empty() == 0


def test_a_change_of_the_mapping_changes_the_count(folder: Folder) -> None:
    folder.receive(1, email="nobody")
    folder.map('"Email" = "email"\n')
    assert folder.type("drain") == 0
    assert folder.left_empty() == 0
