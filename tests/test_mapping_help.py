"""What helps while a mapping is written: values that do not fit, what there is to map, what would be written."""

from __future__ import annotations

import json
from contextlib import chdir, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connector import config
from connector.affiliates.fields import line_to_paste
from connector.assembly import build_sources
from connector.cli.main import run
from connector.core.sink import Outcome
from connector.core.source import InboundRequest
from connector.overview import overview
from connector.store import Store
from tests.doubles import World, event
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


def test_a_value_that_the_destination_does_not_take_is_counted_until_the_next_write(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sink.answer = lambda row: Outcome(row.key, "written", left_empty=("Email",))
    world.say(event(1, 1, email="odd"), event(2, 1, email="odd"))
    world.deliver()
    assert world.store.left_empty("table/all") == {"plain:1": (0, ("Email",)), "plain:2": (0, ("Email",))}
    assert world.store.left_empty_cells("table/all") == 2
    world.store.enqueue("table/all")
    world.deliver()  # the rows are equal, so nothing is sent and nothing is known anew
    assert world.store.left_empty("table/all") == {"plain:1": (0, ("Email",)), "plain:2": (0, ("Email",))}
    world.sink.answer = lambda row: Outcome(row.key, "written")
    world.say(event(1, 2, email="even"))
    world.deliver()
    assert world.store.left_empty("table/all") == {"plain:2": (0, ("Email",))}
    world.close()


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


# ---------------------------------------------------------------- what there is to map


def _with_much(folder: Folder) -> None:
    for number in (1, 2):
        folder.receive(
            number,
            email=f"p{number}@example.com",
            profile={"first_name": "Ada", "shoe_size": 38},
            custom_fields={"size": 18000, "tier": "Gold"},
            moods=[{"today": "good"}, {"today": "better"}],
        )


def test_fields_shows_paths_with_values_and_lines(folder: Folder) -> None:
    _with_much(folder)
    assert folder.type("fields") == 0
    lines = folder.out.splitlines()
    email = lines.index(next(line for line in lines if line.startswith("  email")))
    assert lines[email].split() == ["email", "p1@example.com", "map.toml:5"]
    assert lines[email].endswith("map.toml:5")
    assert lines[email + 1] == "    The address of the account. (text)"
    assert "  custom.size  18000" in folder.out
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "Next: connector fields --unused"


def test_fields_unused_gives_the_lines_to_paste_and_the_radar(folder: Folder) -> None:
    _with_much(folder)
    assert folder.type("fields", "fp", "--unused") == 0
    lines = folder.out.splitlines()
    assert "paths come in and reach no column." in lines[0]
    (tier,) = [line for line in lines if line.startswith("  custom.tier")]
    assert tier.split(maxsplit=4) == ["custom.tier", "2", "times", "Gold", '"Tier" = "custom.tier"']
    assert not any("custom.size" in line or line.startswith("  email") for line in lines)
    assert "Next: paste a line into a mapping, then: connector plan" in lines
    found = folder.type_for_json("fields", "--unused")
    assert {(key["source"], key["key"], key["seen"]) for key in found["unread"]} == {
        ("fp", "data.promoter.profile.shoe_size", 2),
        ("fp", "data.promoter.moods[].today", 2),
    }
    assert "38" not in folder.out  # what nobody reads may be private
    assert "custom.tier" in [each["path"] for each in found["fields"]]
    folder.map(_FIELDS + '"Tier" = { cases = [{ when = { "custom.tier" = "Gold" }, value = "yes" }] }\n')
    found = folder.type_for_json("fields", "--unused")
    assert "custom.tier" not in [each["path"] for each in found["fields"]]


def test_every_line_to_paste_is_right(folder: Folder) -> None:
    _with_much(folder)
    found = folder.type_for_json("fields", "--unused")["fields"]
    folder.map(_FIELDS + "".join(f"{line_to_paste(each['path'])}\n" for each in found))
    assert folder.type("check") == 0, folder.out + folder.err
    assert folder.type_for_json("fields", "--unused")["fields"] == []


def test_fields_before_the_first_webhook_lists_the_paths(folder: Folder) -> None:
    assert folder.type("fields") == 0
    assert "Nothing was received yet" in folder.out
    assert "balances.current.cash" in folder.out
    assert folder.type("fields", "fpp") == 2
    assert not (folder.path / "data").exists()


def test_fields_live_names_columns_that_no_mapping_fills(folder: Folder) -> None:
    folder.receive(1, email="ada@example.com", custom_fields={"tier": "Gold"})
    table = folder.path / "a.csv"
    header, rest = table.read_text(encoding="utf-8").split("\n", 1)
    table.write_text(f"{header},Phone,Revenue,TIER,call in May\n{rest}", encoding="utf-8")
    before = table.read_bytes()
    assert folder.type("fields", "--unused", "--live") == 0
    lines = folder.out.splitlines()
    start = next(at for at, line in enumerate(lines) if "of the destinations that no mapping fills:" in line)
    assert lines[start:-1] == [
        "· 4 columns and choices of the destinations that no mapping fills:",
        "  local/map  Phone",
        '    "Phone" = "phone"',
        "  local/map  Revenue",
        '    "Revenue" = "stats.sales_total"',
        "  local/map  TIER",
        '    "TIER" = "custom.tier"',
        "  1 that are like no path: --json",
    ]
    assert [each["column"] for each in folder.type_for_json("fields", "--live")["spare"]][-1] == "call in May"
    assert table.read_bytes() == before
    assert folder.type_for_json("fields", "--unused")["spare"] == []


def test_status_mentions_fields_that_are_in_no_column_once(folder: Folder) -> None:
    _with_much(folder)
    assert folder.type("status") == 0
    said = " ".join(folder.out.split())
    assert said.count("fields --unused") == 1
    assert "1 field of your own is in no column: connector fields --unused" in said
    folder.map(_FIELDS + '"Tier" = "custom.tier"\n')
    assert folder.type("drain") == 0
    folder.type("status")
    assert "fields --unused" not in folder.out


# ---------------------------------------------------------------- what would be written, and why


def test_preview_of_a_stored_affiliate_by_id_address_or_name(folder: Folder) -> None:
    folder.receive(1, email="ada@example.com", profile={"first_name": "Ada", "last_name": "Byron"})
    folder.map(_FIELDS + '"Shout" = { from = "name", then = ["upper"] }\n')
    for word in ("fp:1", "1", "ada@example.com", "byron"):
        assert folder.type("preview", word) == 0
        assert "fp:1 -> local/map" in folder.out
        assert "ADA BYRON" in folder.out
    (target,) = folder.type_for_json("preview", "byron")["targets"]
    assert target["rows"][0]["cells"]["Shout"] == "ADA BYRON"
    assert folder.type("preview", "byrom") == 1
    assert 'did you mean "Ada Byron"?' in folder.err or "Ada Byron" in folder.err
    assert folder.type("preview") == 2
    assert folder.type("preview", "byron", "--last", "fp") == 2


def test_preview_of_the_last_webhook(folder: Folder) -> None:
    assert folder.type("preview", "--last", "fp") == 1
    assert "has sent no webhook lately" in folder.err
    folder.receive(1, email="ada@example.com")
    folder.receive(2, email="nobody")
    assert folder.type("preview", "--last", "fp") == 0
    assert folder.out.startswith("Details changed (promoter_updated), event promoter_updated:2")
    assert "fp:2 -> local/map" in folder.out
    assert '  left empty: Email: "nobody" is not an e-mail address' in folder.out
    assert folder.type("preview", "--last", "fpp") == 2


def test_explain_and_preview_name_the_line_that_leaves_an_affiliate_out(folder: Folder) -> None:
    folder.receive(1, status="rejected")
    for line, said in (
        ('status = ["active", "pending"]  # who sells', "status is rejected; it takes active, pending"),
        ("email = { exists = true }", "email is empty; it takes only email = { exists = true }"),
        ('email = "a@example.com"', "email is empty; it takes a@example.com"),
    ):
        text = f'[key]\nfield = "ID"\n[when]\n{line}\n[fields]\n"ID" = "id"\n'
        (folder.path / "map.toml").write_text(text, encoding="utf-8")
        left_out = f"left out by map.toml:4: {said}"
        for words in (("explain", "fp:1"), ("explain", "fp:1", "--all"), ("preview", "fp:1")):
            folder.type(*words)
            assert left_out in " ".join(folder.out.split()), words
        assert folder.type_for_json("preview", "fp:1")["targets"][0]["skipped"] == left_out
    assert folder.type("explain", "fp:1") == 0
    assert "; its row stays" in " ".join(folder.out.split())


def test_explain_tells_everything_in_words_and_short_local_times(folder: Folder) -> None:
    folder.map('"Since" = "created_at"\n"City" = "address.city"\n')
    folder.receive(1, created_at="2026-11-20T10:00:00Z")
    assert folder.type("explain", "fp:1", "--all") == 0
    assert "  event  Details changed, promoter_updated:1:short\n" in folder.out
    assert "= nothing" not in folder.out
    assert "+00:00" not in folder.out
    local = datetime(2026, 11, 20, 10, tzinfo=UTC).astimezone()
    assert f"Since = 20 Nov, {local:%H:%M}" in folder.out


def test_explain_shows_the_mapping_line_of_every_cell(folder: Folder) -> None:
    folder.receive(1, email="nobody", profile={"first_name": "Ada", "last_name": "Byron"})
    assert folder.type("explain", "ada", "--all") == 0
    lines = folder.out.splitlines()
    assert lines[:2] == ["Ada Byron is in local/map.", "  FirstPromoter (fp), nobody, fp:1"]
    assert [line.split() for line in lines if line.endswith(("map.toml:4", "map.toml:7"))] == [
        ["Name", "Ada", "Byron", "name", "map.toml:4"],
        ["ID", "fp:1", "id", "map.toml:7"],
    ]
    assert max(len(line) for line in lines if "map.toml" in line and line.startswith("  ")) <= 80
    assert 'up to date; left empty: Email: "nobody" is not an e-mail address' in folder.out
    (entries,) = folder.type_for_json("explain", "byron")["affiliates"].values()
    assert entries[-1]["origins"]["Name"] == {"paths": ["name"], "where": "map.toml:4"}
