"""The CSV sink against real files."""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connector.core.errors import NeedsAction, StartOver, TryLater
from connector.core.row import Cell, Column, Row
from connector.core.sink import Sink, Target
from connector.sinks.files.csv_file import CsvFile, CsvOptions, CsvTable, guarded, unguarded
from connector.sinks.files.replacing import ChangedMeanwhile, replace_file, signature_of, translated
from tests.sinks import promises
from tests.sinks.host import TestHost
from tests.sinks.killing import kill_writers
from tests.sinks.promises import Harness, Memory, SinkPromises, formula_texts, row


class CsvHarness(Harness):
    """The file is read with the csv module and the escaping undone by the rule of the documents, not by the sink."""

    has_rows_below = True

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__()
        self.path = folder / "affiliates.csv"
        self.options = CsvOptions(type="csv", mappings=("m.toml",), path=self.path, **options)

    def sink(self) -> Sink:
        return CsvFile("local", self.options, self.host)

    def target(self, columns: Sequence[Column], **options: Any) -> Target:
        return Target("local/m", tuple(columns), "Key", CsvFile.TargetOptions(**options), "m.toml")

    def raw(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        return list(csv.reader(io.StringIO(self.path.read_bytes().decode("utf-8-sig"), newline="")))

    def save(self, table: list[list[str]]) -> None:
        with self.path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)

    def rows(self) -> list[dict[str, Cell]]:
        header, *rows = self.raw() or [[]]
        types = {column.name: column.type for column in promises.columns}
        return [
            {name: _typed(types.get(name, "text"), cell) for name, cell in zip(header, row, strict=False)}
            for row in rows
        ]

    def state(self) -> object:
        if not self.path.exists():
            return sorted(path.name for path in self.path.parent.iterdir())
        found = self.path.stat()
        return found.st_ino, found.st_mtime_ns, self.path.read_bytes()

    def person_adds_column(self, name: str, cells: Mapping[str, str]) -> None:
        header, *rows = self.raw()
        key = header.index("Key")
        self.save([[name, *header], *([cells.get(row[key], ""), *row] for row in rows)])

    def person_adds_row(self, cells: Mapping[str, str]) -> None:
        header, *rows = self.raw()
        self.save([header, [cells.get(name, "") for name in header], *rows])

    def person_adds_below(self, rows: Sequence[Mapping[str, str]]) -> None:
        header, *table = self.raw()
        self.save([header, *table, *([cells.get(name, "") for name in header] for cells in rows)])

    def person_edits(self, key: str, column: str, text: str) -> None:
        table = self.raw()
        at = table[0].index("Key")
        for cells in table[1:]:
            if cells[at] == key:
                cells[table[0].index(column)] = text
        self.save(table)

    def person_reorders(self) -> None:
        header, *rows = self.raw()
        self.save([header[::-1], *(row[::-1] for row in rows[::-1])])

    def formulas(self) -> list[str]:
        """Cells that begin with a sign (after blanks) and are no plain number; so must no piece of a cell that calls
        something, if the file is read with another delimiter."""
        number = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?$")
        text = self.path.read_bytes().decode("utf-8-sig")
        found = []
        for delimiter in ",;\t|":
            for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
                for cell in cells:
                    start = first_seen(cell)
                    foreign = delimiter != "," and not re.search(r"[(|!]", cell)
                    if start and start in signs and not number.match(cell) and not foreign:
                        found.append(cell)
        return found


signs = "=+-@＝＋－＠﹦﹢﹣﹫"
look_like_blanks = "\u034f\u115f\u1160\u2800\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))


def is_blank(sign: str) -> bool:
    return unicodedata.category(sign) in {"Cc", "Cf", "Zs", "Zl", "Zp"} or sign in look_like_blanks


def first_seen(text: str) -> str:
    """The first sign that shows, quotes apart."""
    return next((sign for sign in text if sign != '"' and not is_blank(sign)), "")


def _typed(kind: str, cell: str) -> Cell:
    if cell == "":
        return None
    if kind == "integer":
        return int(cell)
    if kind == "money":
        return Decimal(cell)
    if kind == "boolean":
        return {"true": True, "false": False}[cell]
    if kind == "date":
        return date.fromisoformat(cell)
    if kind == "datetime":
        return datetime.strptime(cell, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    if cell[:1] == "'" and (first_seen(cell.replace("'", "")) in tuple(signs) or re.match(r"'+[\t\r\n]", cell)):
        cell = cell[1:]
    if re.search(r"[(|!]", cell):
        cell = re.sub(r"([,;|\t\r\n])'(?=[\s\"']*[=+\-@])", r"\1", cell)
    return tuple(cell.split(", ")) if kind == "list" else cell


class TestTheCsvFileKeepsThePromises(SinkPromises):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return CsvHarness(tmp_path)


# ---------------------------------------------------------------- formulas

anything = st.text(
    alphabet=st.one_of(st.sampled_from("=+-@＝＋－＠﹦'\"\t\r\n,;| \u00a0\u200b\u00ad\u2800(!ab1"), st.characters())
)


@given(anything)
def test_guarding_is_undone_exactly(text: str) -> None:
    assert unguarded(guarded(text)) == text


@given(anything)
def test_no_guarded_text_begins_like_a_formula(text: str) -> None:
    written = guarded(text)
    assert written[:1] not in tuple(f"{signs}\t\r\n")
    assert first_seen(written) not in tuple(signs)


def test_no_blank_of_unicode_hides_a_sign() -> None:
    blanks = [chr(number) for number in range(sys.maxunicode + 1) if is_blank(chr(number))]
    assert len(blanks) > 200
    assert [hex(ord(blank)) for blank in blanks if not guarded(f"{blank}=1+1").startswith("'")] == []


@pytest.mark.parametrize(
    "text",
    ["ada@example.com", "a - b", "red, -blue", "- one\n- two"[2:], "x=1", "5-7", "it's", "'quoted'", "", "a, @ada"],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert guarded(text) == text


def test_a_checked_phone_number_has_no_apostrophe_and_other_text_has(harness: CsvHarness) -> None:
    columns = (Column("Key"), Column("Phone", type="phone"), Column("Name"))
    rows = [
        row("a:1", Phone="+441632960961", Name="+441632960961"),
        row("a:2", Phone="+1 (555) 0100", Name="Bob"),
        row("a:3", Phone="+1\n+2", Name="Cy"),
    ]
    harness.sink().write(harness.target(columns), rows)
    assert [cells[1:] for cells in harness.raw()[1:]] == [
        ["+441632960961", "'+441632960961"],
        ["'+1 (555) 0100", "Bob"],
        ["'+1\n+2", "Cy"],
    ]


def test_the_apostrophe_of_an_older_version_goes_and_is_nobodys_edit(harness: CsvHarness) -> None:
    harness.path.write_text("Key,Phone\na:1,'+441632960961\n")
    cells = {"Key": "a:1", "Phone": "+441632960961"}
    target = harness.target((Column("Key"), Column("Phone", type="phone")))
    (outcome,) = harness.sink().write(target, [Row("a:1", "a:1", cells, last=cells)])
    assert harness.path.read_text() == "Key,Phone\na:1,+441632960961\n"
    assert outcome.notices == ()


def test_control_characters_do_not_reach_the_file(harness: CsvHarness) -> None:
    controls = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
    target = harness.target((Column("Key"), Column("Name"), Column("Tags", type="list")))
    rows = [row("a:\x1b1", Name=f"=A{controls}B", Tags=(f"x{controls}", "y"))]
    for _ in range(2):
        harness.sink().write(target, rows)
        assert harness.raw()[1:] == [["a:1", "'=A\t\n\rB", "x\t\n\r, y"]]


def test_a_decimal_comma_is_written_and_read(tmp_path: Path) -> None:
    harness = CsvHarness(tmp_path, delimiter=";", decimal=",")
    columns = (
        Column("Key"),
        Column("Balance", type="money", currency="USD"),
        Column("Stage", type="number", overwrite="only_forward", order=("1.5", "2.5")),
        Column("Version"),
    )
    target = harness.target(columns)
    cells: dict[str, Cell] = {"Balance": Decimal("-507.40"), "Stage": Decimal("2.5"), "Version": "1.10"}
    harness.sink().write(target, [row("a:1", **cells)])
    expected = "Key;Balance;Stage;Version\na:1;-507,40;2,5;1.10\n"
    assert harness.path.read_text() == expected
    before = harness.state()
    harness.sink().write(target, [row("a:1", **{**cells, "Stage": Decimal("1.5")})])
    assert harness.state() == before
    assert not harness.sink().preview(target, [row("a:1", **cells)])[0].cells


def test_a_decimal_comma_needs_another_delimiter() -> None:
    with pytest.raises(ValueError, match='set delimiter = ";"'):
        CsvOptions(type="csv", mappings=("m.toml",), path=Path("a.csv"), decimal=",")


# ---------------------------------------------------------------- people's files


@pytest.fixture
def harness(tmp_path: Path) -> CsvHarness:
    return CsvHarness(tmp_path)


name_only = (Column("Key"), Column("Name"))
foreign = st.text(st.characters(codec="utf-8"), max_size=6).filter(lambda text: "\ufeff" not in text)


def test_lines_that_a_write_does_not_touch_stay_byte_for_byte(harness: CsvHarness) -> None:
    head = b'"Key","Remark" ,Name\r\n"a:1","x ""y"" z" ,"Ada"\r\n\r\n,  note; by hand,\r\n'
    harness.path.write_bytes(head + b'a:2,"line\nbreak",Bob\r\nshort:1\r\n')
    harness.sink().write(harness.target(name_only), [row("a:2", Name="Bert"), row("a:3", Name="Cy")])
    assert harness.path.read_bytes() == head + b'a:2,"line\nbreak",Bert\r\nshort:1\r\na:3,,Cy\r\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Key;Name\r\na:1;Ada\r\n", b'Key;Name\r\na:1;Bob\r\na:2;"x, y"\r\n'),
        (b"\xef\xbb\xbfKey,Name\na:1,Ada\n", b'\xef\xbb\xbfKey,Name\na:1,Bob\na:2,"x, y"\n'),
        (b"sep=;\r\nKey;Name\r\na:1;Ada", b'sep=;\r\nKey;Name\r\na:1;Bob\r\na:2;"x, y"\r\n'),
        (b"Key\tName\ra:1\tAda\r", b'Key\tName\ra:1\tBob\ra:2\t"x, y"\r'),
        (b"\n\nKey|Name\na:1|Ada", b'\n\nKey|Name\na:1|Bob\na:2|"x, y"\n'),
        (
            b"\xff\xfe" + "Key\tName\r\na:1\tÄda\r\n".encode("utf-16-le"),
            b"\xff\xfe" + 'Key\tName\r\na:1\tBob\r\na:2\t"x, y"\r\n'.encode("utf-16-le"),
        ),
    ],
    ids=["semicolon", "byte order mark", "sep line", "tab and CR", "blank lines above", "UTF-16"],
)
def test_a_files_own_dialect_is_kept(harness: CsvHarness, before: bytes, after: bytes) -> None:
    harness.path.write_bytes(before)
    harness.sink().write(harness.target(name_only), [row("a:1", Name="Bob"), row("a:2", Name="x, y")])
    assert harness.path.read_bytes() == after


def test_a_new_file_has_the_dialect_of_the_options(tmp_path: Path) -> None:
    harness = CsvHarness(tmp_path / "made" / "too", delimiter=";", bom=True)
    harness.sink().write(harness.target(name_only), [row("a:1", Name="Zoë")])
    assert harness.path.read_bytes() == "\ufeffKey;Name\na:1;Zoë\n".encode()


def test_a_file_in_an_old_encoding_is_left_alone_until_its_encoding_is_named(tmp_path: Path) -> None:
    content = "Key,Name\na:1,Zoë\n".encode("cp1252")
    harness = CsvHarness(tmp_path)
    harness.path.write_bytes(content)
    with pytest.raises(NeedsAction, match=r"not UTF-8 \(line 2\).*CSV UTF-8"):
        harness.sink().write(harness.target(name_only), [row("a:1", Name="Bob")])
    assert harness.path.read_bytes() == content
    harness = CsvHarness(tmp_path, encoding="cp1252")
    outcomes = harness.sink().write(harness.target(name_only), [row("a:2", Name="Åsa"), row("a:3", Name="株")])
    assert [(outcome.kind, outcome.code) for outcome in outcomes] == [("written", ""), ("refused", "unencodable")]
    assert harness.path.read_bytes() == content + "a:2,Åsa\n".encode("cp1252")


@settings(max_examples=60)
@given(
    st.lists(st.one_of(st.sampled_from(["\r", "\n", "\r\n", ",", ";", '"', '""', " ", "Key", "sep=;\r"]), foreign)),
    st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "gb18030", "iso2022_jp"]),
    st.integers(8_100, 8_200),
    st.integers(1, 3),
)
def test_a_file_is_read_and_given_back_as_it_stands_wherever_its_pieces_end(
    pieces: list[str], encoding: str, filler: int, times: int
) -> None:
    text = ("".join(pieces) + "x" * filler) * times
    text = text.encode(encoding, "ignore").decode(encoding)
    bom = "\ufeff".encode(encoding) if encoding.startswith("utf-16") else b""
    content = bom + text.encode(encoding)
    assume(bom or not content.startswith((b"\xff\xfe", b"\xfe\xff", b"PK\x03\x04")))
    options = CsvOptions(type="csv", mappings=("m.toml",), path=Path("a.csv"), encoding="utf-8" if bom else encoding)
    target = Target("local/m", name_only, "Key", CsvFile.TargetOptions(), "m.toml")
    try:
        table = CsvFile("local", options, TestHost())._load(content, target)
    except NeedsAction as problem:
        assert "never closed" in problem.reason or "\x00" in text  # noqa: PT017 - one of two ends, both are right
        return
    assert isinstance(table, CsvTable)
    if table.header:
        assert table.dump(datetime.now(UTC)) == content
        rows = csv.reader(
            io.StringIO(text[len(table.before) + len(table.header_raw) :], newline=""), delimiter=table.delimiter
        )
        assert [table.row(place) for place in range(len(table.lines))] == list(rows)


@settings(max_examples=60)
@given(
    st.integers(0, 3_000),
    st.sampled_from(
        [
            ("utf-8", b"", b"\xff"),
            ("utf-8", b"\xef\xbb\xbf", b"\xe2\x82"),
            ("cp1252", b"", b"\x81"),
            ("shift_jis", b"", b"\x83\n"),
            ("utf-16-le", b"\xff\xfe", b"\x00\xdc"),
            ("utf-16-be", b"\xfe\xff", b"\xdc\x00"),
        ]
    ),
    st.booleans(),
)
def test_the_line_of_what_is_not_in_the_encoding_is_told(at: int, broken: tuple[str, bytes, bytes], ends: bool) -> None:
    encoding, bom, wrong = broken
    lines = ["Key,Name\n", *(f"a:{number},Zo\n" for number in range(3_000))]
    before = "".join(lines[: at + 1])
    content = bom + before.encode(encoding) + wrong + ("" if ends else "".join(lines[at + 1 :])).encode(encoding)
    options = CsvOptions(type="csv", mappings=("m.toml",), path=Path("a.csv"), encoding="utf-8" if bom else encoding)
    target = Target("local/m", name_only, "Key", CsvFile.TargetOptions(), "m.toml")
    with pytest.raises(NeedsAction, match=rf"is not {encoding.upper()} \(line {at + 2}\)"):
        CsvFile("local", options, TestHost())._load(content, target)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Name,Mail\nAda,a@example.com\n", 'no column "Key"'),
        (b'Key,Name\na:1,"Ada\na:2,Bob\n', "never closed"),
        (b"PK\x03\x04whatever", 'type = "xlsx"'),
    ],
)
def test_a_file_that_cannot_be_written_safely_is_left_alone_with_words(
    harness: CsvHarness, content: bytes, words: str
) -> None:
    harness.path.write_bytes(content)
    with pytest.raises(NeedsAction, match=words):
        harness.sink().write(harness.target(name_only), [row("a:1", Name="Bob")])
    assert harness.path.read_bytes() == content
    assert any(finding.level == "problem" for finding in harness.sink().check(harness.target(name_only)))


def test_a_missing_column_is_made_after_everything_that_people_wrote_or_stops_the_route(harness: CsvHarness) -> None:
    content = "Key\na:1,beyond the header\n"
    harness.path.write_text(content)
    with pytest.raises(NeedsAction, match='lacks "Name"'):
        harness.sink().write(harness.target(name_only, missing_columns="stop"), [row("a:1", Name="Ada")])
    assert harness.path.read_text() == content
    (outcome,) = harness.sink().write(harness.target(name_only), [row("a:1", Name="Ada")])
    assert harness.path.read_text() == "Key,,Name\na:1,beyond the header,Ada\n"
    assert outcome.notices[0] == 'made the missing columns "Name"'


def test_a_row_that_is_written_has_a_cell_for_each_column(harness: CsvHarness) -> None:
    harness.path.write_text("Key,Name,Note,Seen\na:1,Ada\nb:1,Bo\n")
    harness.sink().write(harness.target(name_only), [row("a:1", Name="Ann")])
    assert harness.path.read_text() == "Key,Name,Note,Seen\na:1,Ann,,\nb:1,Bo\n"


def test_of_two_rows_with_one_key_the_first_is_kept_up_to_date_and_both_are_reported(harness: CsvHarness) -> None:
    harness.path.write_text("Key,Name\na:1,Ada\na:1,Ada too\n")
    target = harness.target(name_only)
    (outcome,) = harness.sink().write(target, [row("a:1", Name="Bob")])
    assert harness.path.read_text() == "Key,Name\na:1,Bob\na:1,Ada too\n"
    assert "2 rows" in outcome.notices[0]
    assert any("more than one row" in finding.text for finding in harness.sink().check(target))


def test_an_edit_that_is_overwritten_is_noticed_without_its_value(harness: CsvHarness) -> None:
    harness.path.write_text("Key,Name\na:1,Typed by hand\na:2,Old\n")
    outcomes = harness.sink().write(
        harness.target(name_only),
        [
            Row("a:1", "a:1", {"Key": "a:1", "Name": "New"}, last={"Key": "a:1", "Name": "Old"}),
            Row("a:2", "a:2", {"Key": "a:2", "Name": "New"}, last={"Key": "a:2", "Name": "Old"}),
        ],
    )
    assert [outcome.notices for outcome in outcomes] == [("Name: a person's edit was overwritten",), ()]


@pytest.mark.parametrize(
    ("key", "cell"),
    [
        ("12.5", Decimal("12.50")),
        ("-3", Decimal("-3.0")),
        ("2026-01-31T23:30:00+00:00", datetime(2026, 1, 31, 23, 30, tzinfo=UTC)),
        ("2026-01-31", date(2026, 1, 31)),
        ("=1", " =1"),
    ],
)
def test_a_row_is_found_again_by_a_key_of_any_type(harness: CsvHarness, key: str, cell: Cell) -> None:
    for name in ("Ada", "Bob", "Cy"):
        harness.sink().write(harness.target(name_only), [Row("a:1", key, {"Key": cell, "Name": name})])
    assert [cells["Name"] for cells in harness.rows()] == ["Cy"]


def test_a_row_that_moves_is_found_again_by_a_key_of_any_type(harness: CsvHarness) -> None:
    target = harness.target(name_only)
    harness.sink().write(target, [row("a:1", Name="Ada")])
    for name in ("Bob", "Cy"):
        moved = Row("a:1", "12.5", {"Key": Decimal("12.50"), "Name": name}, moved_from="a:1")
        harness.sink().write(target, [moved])
    assert harness.raw()[1:] == [["12.5", "Cy"]]


def test_a_cell_without_a_place_costs_only_itself_where_the_mapping_says_so(harness: CsvHarness) -> None:
    target = harness.target([Column("Key"), Column("Name"), Column("Bio", on_error="leave_empty")])
    (outcome,) = harness.sink().write(target, [row("a:1", Name="Ada", Bio="\udfff")])
    assert outcome.kind == "written"
    assert outcome.notices == ("Bio: left as it was (unencodable)",)
    assert outcome.left_empty == ("Bio",)
    assert harness.path.read_text() == "Key,Name,Bio\na:1,Ada,\n"


def test_excel_does_not_take_a_file_that_begins_with_id_for_another_format(harness: CsvHarness) -> None:
    target = Target("local/m", (Column("ID"), Column("Name")), "ID", CsvFile.TargetOptions(), "m.toml")
    harness.sink().write(target, [Row("a:1", "a:1", {"ID": "a:1", "Name": "Ada"})])
    assert harness.path.read_text() == '"ID",Name\na:1,Ada\n'


@settings(max_examples=60)
@given(
    st.lists(st.tuples(foreign, foreign, foreign), max_size=5),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_whatever_people_keep_in_their_columns_has_the_same_value_after_writes(
    cells: list[tuple[str, str, str]], delimiter: str, line_end: str, quoting: Literal[0, 1], updates: bool
) -> None:
    # The csv module's writer forgets to quote a lone carriage return.
    assume(quoting == csv.QUOTE_ALL or "\r" not in "".join(map("".join, cells)))
    header = ["Theirs", "Name", "Key", "Theirs too"]
    people = [[first, name, f"a:{at}", last] for at, (first, name, last) in enumerate(cells)]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerows([header, *people])
    with tempfile.TemporaryDirectory() as folder:
        harness = CsvHarness(Path(folder))
        harness.path.write_bytes(text.getvalue().encode())
        ours = [row(f"a:{at}", Name="new") for at in range(len(cells))] if updates else []
        harness.sink().write(harness.target(name_only), [*ours, row("b:1", Name="=new")])
        written = io.StringIO(harness.path.read_bytes().decode(), newline="")
        found = list(csv.reader(written, delimiter=delimiter))
    expected = [[first, "new" if updates else name, key, last] for first, name, key, last in people]
    assert found == [header, *expected, ["", "'=new", "b:1", ""]]


# ---------------------------------------------------------------- the file


def test_a_file_that_did_not_change_is_not_parsed_again_and_one_that_did_is(harness: CsvHarness) -> None:
    sink, target = CountingCsv("local", harness.options, harness.host), harness.target(name_only)
    sink.write(target, [row("a:1", Name="Ada")])
    sink.write(target, [row("a:2", Name="Bob")])
    sink.write(target, [row("a:2", Name="Bob")])
    assert sink.loads == 1
    harness.person_edits("a:1", "Name", "Typed")
    sink.write(target, [row("a:2", Name="Bert")])
    assert sink.loads == 2
    assert harness.row("a:1")["Name"] == "Typed"


class CountingCsv(CsvFile):
    loads = 0

    def _load(self, content: bytes, target: Target) -> Any:
        self.loads += 1
        return super()._load(content, target)


class EditedMeanwhile(CsvFile):
    """A person saves the file at the last moment, after it was read, for the first few times."""

    edits = 0
    times = 1

    def _save(self, document: Any) -> None:
        if self.edits < self.times:
            self.edits += 1
            with self._path.open("a") as file:
                file.write(f"p:{self.edits},by hand\n")
        super()._save(document)


def test_an_edit_between_reading_and_replacing_is_kept(harness: CsvHarness) -> None:
    target = harness.target(name_only)
    harness.sink().write(target, [row("a:1", Name="Ada")])
    sink = EditedMeanwhile("local", harness.options, harness.host)
    sink.write(target, [row("a:2", Name="Bob")])
    assert harness.row("p:1")["Name"] == "by hand"
    assert harness.row("a:2")["Name"] == "Bob"
    assert [path.name for path in harness.path.parent.iterdir()] == ["affiliates.csv"]


def test_a_file_that_changes_all_the_time_is_tried_later_and_not_damaged(harness: CsvHarness) -> None:
    sink = EditedMeanwhile("local", harness.options, harness.host)
    sink.times = 100
    harness.path.write_text("Key,Name\n")
    with pytest.raises(TryLater, match="all the time"):
        sink.write(harness.target(name_only), [row("a:1", Name="Ada")])
    assert harness.path.read_text().startswith("Key,Name\np:1,by hand\np:2,by hand\n")
    sink.times = 0
    sink.write(harness.target(name_only), [row("a:1", Name="Ada")])
    assert harness.row("a:1")["Name"] == "Ada"
    assert harness.row("p:2")["Name"] == "by hand"


def test_the_mode_of_a_file_stays_and_a_new_one_is_closed_to_others(harness: CsvHarness) -> None:
    sink, target = harness.sink(), harness.target(name_only)
    sink.write(target, [row("a:1", Name="Ada")])
    assert stat.S_IMODE(harness.path.stat().st_mode) & 0o007 == 0
    harness.path.chmod(0o664)
    sink.write(target, [row("a:2", Name="Bob")])
    assert stat.S_IMODE(harness.path.stat().st_mode) == 0o664


def test_a_link_goes_on_pointing_to_the_file(harness: CsvHarness, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    harness.path.symlink_to(real / "real.csv")
    harness.sink().write(harness.target(name_only), [row("a:1", Name="Ada")])
    assert harness.path.is_symlink()
    assert (real / "real.csv").read_text() == "Key,Name\na:1,Ada\n"


@pytest.mark.parametrize("mark", ["~$affiliates.csv", ".~lock.affiliates.csv#"])
def test_a_file_that_is_open_in_an_office_program_is_written_when_it_is_closed(harness: CsvHarness, mark: str) -> None:
    sink, target = harness.sink(), harness.target(name_only)
    sink.write(target, [row("a:1", Name="Ada")])
    before = harness.path.read_bytes()
    (harness.path.parent / mark).touch()
    for _ in range(2):
        with pytest.raises(TryLater, match="close it there"):
            sink.write(target, [row("a:1", Name="Bob")])
        assert harness.path.read_bytes() == before
    (harness.path.parent / mark).unlink()
    sink.write(target, [row("a:1", Name="Bob")])
    assert harness.path.read_text() == "Key,Name\na:1,Bob\n"


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (errno.ENOSPC, TryLater, "full"),
        (errno.EDQUOT, TryLater, "full"),
        (errno.EACCES, NeedsAction, "read and write access"),
        (errno.EROFS, NeedsAction, "read and write access"),
        (errno.EBUSY, TryLater, "open in another program"),
        (errno.EISDIR, NeedsAction, "another path"),
        (errno.EIO, TryLater, "Input/output error"),
    ],
)
def test_what_the_system_says_becomes_words_for_who_must_act(number: int, error: type[Exception], words: str) -> None:
    found = translated(OSError(number, os.strerror(number)), Path("data/a.csv"))
    assert type(found) is error
    assert words in str(found)
    assert "data/a.csv" in str(found)


def test_a_path_that_is_a_folder_is_said_in_words(tmp_path: Path) -> None:
    harness = CsvHarness(tmp_path)
    harness.path.mkdir()
    with pytest.raises(NeedsAction, match="another path"):
        harness.sink().write(harness.target(name_only), [row("a:1", Name="Ada")])


def test_a_full_disk_leaves_the_old_file_and_nothing_else(harness: CsvHarness) -> None:
    """/dev/full can't be renamed, so the file-size limit of a child process plays the full disk."""
    harness.path.write_text("Key,Name\na:1,Ada\n")
    script = f"""
import resource, signal, sys
from pathlib import Path
from tests.sinks.test_csv import CsvHarness, name_only, row
from connector.core.errors import TryLater
harness = CsvHarness(Path({str(harness.path.parent)!r}))
sink = harness.sink()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    sink.write(harness.target(name_only), [row("a:2", Name="x" * 9000)])
except TryLater as error:
    assert "full" in error.reason, error.reason
    sys.exit(42)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 42
    assert harness.path.read_text() == "Key,Name\na:1,Ada\n"
    assert [path.name for path in harness.path.parent.iterdir()] == ["affiliates.csv"]


def test_the_copy_that_a_killed_process_left_is_swept_at_the_start_however_young(harness: CsvHarness) -> None:
    harness.path.write_text("Key,Name\na:1,Ada\n")
    left = harness.path.with_name(".affiliates.csv.0123456789ab.tmp")
    writer = os.fork()
    if writer == 0:
        handle = os.open(left, os.O_WRONLY | os.O_CREAT)
        fcntl.flock(handle, fcntl.LOCK_EX)  # as while it is written
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(writer, 0)
    assert left.exists()
    harness.sink()
    assert [path.name for path in harness.path.parent.iterdir()] == ["affiliates.csv"]


def test_a_copy_that_another_process_is_writing_stays(harness: CsvHarness) -> None:
    temporary = harness.path.with_name(".affiliates.csv.0123456789ab.tmp")
    with temporary.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        harness.sink().write(harness.target(name_only), [row("a:1", Name="Ada")])
        assert temporary.exists()
    harness.sink().write(harness.target(name_only), [row("a:1", Name="Bob")])
    assert not temporary.exists()


def replace_often(path: Path, times: int) -> None:
    expected = signature_of(path)
    for number in range(times):
        expected = replace_file(path, b"Key,Name\na:1,%d\n" % number, expected)


def test_a_write_whose_copy_was_swept_is_tried_again(harness: CsvHarness) -> None:
    harness.path.write_text("Key,Name\na:1,Ada\n")
    stop = threading.Event()

    def sweep_all_the_time() -> None:
        while not stop.is_set():
            for left in harness.path.parent.glob("*.tmp"):
                left.unlink(missing_ok=True)

    sweeper = threading.Thread(target=sweep_all_the_time)
    sweeper.start()
    try:
        with pytest.raises(ChangedMeanwhile):
            replace_often(harness.path, 10_000)
    finally:
        stop.set()
        sweeper.join()
    assert harness.path.read_text().startswith("Key,Name\na:1,")


def test_two_routes_of_one_file_lose_nothing_of_each_other(harness: CsvHarness) -> None:
    sinks = [harness.sink(), harness.sink()]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        target = harness.target([Column("Key"), Column(f"Name {number}")])
        try:
            for turn in range(20):
                sinks[number].write(target, [row(f"a:{turn}", **{f"Name {number}": f"{number}-{turn}"})])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(harness.rows()) == 20
    for turn in range(20):
        found = harness.row(f"a:{turn}")
        assert (found["Name 0"], found["Name 1"]) == (f"0-{turn}", f"1-{turn}")


def test_a_slow_file_is_written_less_often_so_that_a_burst_becomes_few_writes(tmp_path: Path) -> None:
    class SlowHost(TestHost):
        def monotonic(self) -> float:
            self.advance(0.1)
            return super().monotonic()

    harness = CsvHarness(tmp_path)
    harness.host = SlowHost()
    sink, target = harness.sink(), harness.target(name_only)
    assert sink.pace(target) == 0.0
    sink.write(target, [row("a:1", Name="Ada")])
    assert 0.1 < sink.pace(target) <= 0.3
    harness.host.advance(1)
    assert sink.pace(target) == 0.0


# ---------------------------------------------------------------- kill -9


def test_a_kill_at_any_moment_leaves_a_whole_file(harness: CsvHarness) -> None:
    different = kill_writers(harness, rows=400, kills=50, longest_seconds=0.06)
    assert different == 50


# ---------------------------------------------------------------- columns


def test_a_header_is_found_again_whatever_its_case_and_blanks(harness: CsvHarness) -> None:
    harness.path.write_text("Mine, NAME ,key\nx,Ada,a:1\n")
    harness.sink().write(harness.target(name_only), [row("a:1", Name="Bob")])
    assert harness.path.read_text() == "Mine, NAME ,key\nx,Bob,a:1\n"


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_the_header_is_found_below_a_title(harness: CsvHarness, delimiter: str) -> None:
    above = 'Our affiliates\r\n\r\n"made; by, me"\r\n'
    harness.path.write_bytes(f"{above}Name{delimiter}key\r\nAda{delimiter}a:1\r\n".encode())
    harness.sink().write(harness.target(name_only), [row("a:1", Name="Bob"), row("a:2", Name="Cy")])
    rows = [f"Name{delimiter}key", f"Bob{delimiter}a:1", f"Cy{delimiter}a:2"]
    assert harness.path.read_bytes().decode() == above + "".join(f"{each}\r\n" for each in rows)


def test_a_header_row_that_vanished_stops_the_route(harness: CsvHarness) -> None:
    harness.path.write_text("a:1,Ada\na:2,Bob\n")
    with pytest.raises(NeedsAction, match=r'no column "Key".*add "Key" there'):
        harness.sink().write(harness.target(name_only), [row("a:1", Name="Ada")])
    assert harness.path.read_text() == "a:1,Ada\na:2,Bob\n"


@pytest.mark.parametrize("keys", [("a:1", "a:2"), ("a:3", "a:2")])
def test_a_header_that_was_sorted_below_rows_stops_the_route(harness: CsvHarness, keys: Sequence[str]) -> None:
    content = "sep=,\na:1,Ada\na:2,Bob\nKey,Name\nzoe:3,Zoe\n"
    harness.path.write_text(content)
    with pytest.raises(NeedsAction, match=r'above its header row.*"Key" above them'):
        harness.sink().write(harness.target(name_only), [row(key, Name="Ada L.") for key in keys])
    assert harness.path.read_text() == content
    harness.sink().write(harness.target(name_only), [row("zoe:3", Name="Zoe B.")])
    assert harness.path.read_text() == content.replace("Zoe", "Zoe B.")


def test_a_renamed_header_is_a_missing_one_and_the_renamed_column_is_a_persons(harness: CsvHarness) -> None:
    harness.path.write_text("Key,Full name\na:1,Ada\n")
    harness.sink().write(harness.target(name_only), [row("a:1", Name="Bob")])
    assert harness.path.read_text() == "Key,Full name,Name\na:1,Ada,Bob\n"


def test_provision_adds_what_a_stopped_route_waits_for_and_refuses_a_file_without_its_key(harness: CsvHarness) -> None:
    target = harness.target(name_only, missing_columns="stop")
    harness.path.write_text("Key,Mine\na:1,x\n")
    assert [finding.subject for finding in harness.sink().provision(target)] == ["Name"]
    assert harness.path.read_text() == "Key,Mine,Name\na:1,x\n"
    assert harness.sink().write(target, [row("a:1", Name="Ada")])[0].kind == "written"
    harness.path.write_text("Mine\nx\n")
    with pytest.raises(NeedsAction, match='no column "Key"'):
        harness.sink().provision(target)
    assert harness.path.read_text() == "Mine\nx\n"


def test_a_removed_record_leaves_no_second_row_behind(harness: CsvHarness) -> None:
    harness.path.write_text("Key,Name\na:1,Ada\na:2,Bob\na:1,Ada again\n")
    target = harness.target(name_only, removed_records="delete")
    harness.sink().write(target, [Row("a:1", "a:1", {"Key": "a:1"}, remove=True)])
    assert harness.path.read_text() == "Key,Name\na:2,Bob\n"


@pytest.mark.parametrize("loss", ["deleted", "emptied"])
def test_a_table_that_is_gone_is_not_made_anew_with_a_few_rows(harness: CsvHarness, loss: str) -> None:
    target = harness.target(name_only)
    sink = harness.sink()
    sink.write(target, [row("a:1", Name="Ada"), row("a:2", Name="Bo")])
    if loss == "deleted":
        harness.path.unlink()
    else:
        harness.path.write_bytes(b"")
    for one in (sink, harness.sink()):  # the same one, and one after a restart
        with pytest.raises(StartOver, match="is gone or empty"):
            one.write(target, [row("a:3", Name="Cy")])
    one.write(target, [row("a:1", Name="Ada"), row("a:2", Name="Bo"), row("a:3", Name="Cy")])
    assert [cells["Key"] for cells in harness.rows()] == ["a:1", "a:2", "a:3"]
    harness.path.unlink()
    with pytest.raises(StartOver):
        one.write(target, [row("a:1", Name="Ada")])


# ---------------------------------------------------------------- people's edits


def test_what_a_spreadsheet_program_makes_of_our_values_is_nobodys_edit(harness: CsvHarness) -> None:
    target = harness.target((Column("Key"), Column("Sum", type="money"), Column("Active", type="boolean")))
    memory = Memory("a:1")
    memory.send(harness.sink(), target, Sum=Decimal("12.50"), Active=True)
    harness.save([["Key", "Sum", "Active"], ["a:1", "12.5", "TRUE"]])
    outcome = memory.send(harness.sink(), target, Sum=Decimal("12.50"), Active=False)
    assert (outcome.kept, outcome.overwritten) == ((), ())
    assert harness.raw()[1] == ["a:1", "12.50", "false"]
    harness.save([["Key", "Sum", "Active"], ["a:1", "12.49", "false"]])
    assert memory.send(harness.sink(), target, Sum=Decimal("12.50"), Active=True).kept == ("Sum",)


@pytest.mark.parametrize("typed", ["=SUM(B2:B9)", "'-5", "-5", "'=x", "\u00a0=x", "+1 (20)"])
def test_what_people_typed_is_put_back_to_the_letter(harness: CsvHarness, typed: str) -> None:
    target, memory = harness.target((Column("Key"), Column("Name"))), Memory("a:1")
    memory.send(harness.sink(), target, Name="one")
    harness.save([["Key", "Name"], ["a:1", typed]])
    outcome = memory.send(harness.sink(), target, Name="two")
    assert (harness.raw()[1][1], outcome.overwritten) == ("two", ("Name",))
    memory.take_back(harness.sink(), target, outcome.former)
    assert harness.raw()[1][1] == typed


@pytest.mark.parametrize("text", formula_texts)
def test_what_we_wrote_is_put_back_with_its_guard(harness: CsvHarness, text: str) -> None:
    for number, answered in enumerate((True, False)):
        target, memory = harness.target((Column("Key"), Column("Name"))), Memory(f"a:{number}")
        memory.send(harness.sink(), target, Name=text)
        before = harness.raw()
        outcome = memory.send(harness.sink(), target, Name="two", answered=answered)
        if not answered:  # then the value is from the store, not from the file
            outcome = memory.send(harness.sink(), target, Name="two")
        memory.take_back(harness.sink(), target, outcome.former)
        assert harness.raw() == before
        assert harness.formulas() == []
