"""The look of a tab in Google Sheets: set once in a tab that we make, read back from what the server understood."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from connector.core.row import Cell, Column, Row
from connector.core.sink import Target
from connector.sinks.google_sheets.region import colour, region_of
from tests.far_sides.loopback import Fault, Reply
from tests.far_sides.sheets_book import Json
from tests.sinks.google_sheets_file import SheetsFile

words = (("pending", "Pending"), ("active", "Active"), ("rejected", "Rejected"), ("blocked", "Blocked"))
columns = (
    Column("ID", paths=("id",)),
    Column("Company", paths=("company",)),
    Column("Link", type="url", paths=("referral_link",), overwrite="always"),
    Column("Clicks", type="integer", paths=("stats.visitors",), overwrite="always"),
    Column("Currency", paths=("currency",)),
    Column("Revenue", type="money", paths=("stats.sales_total",), overwrite="always"),
    Column("Joined", type="date", paths=("created_at",)),
    Column("Name", paths=("name", "company")),
    Column("Status", paths=("status",), words=words),
    Column("Removed", type="date"),
)
order = ["Name", "Status", "Company", "Link", "Clicks", "Currency", "Revenue", "Joined", "Removed", "ID"]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SheetsFile]:
    with SheetsFile(tmp_path) as file:
        yield file
        assert file.server.unexpected == []


def target(file: SheetsFile, more: tuple[Column, ...] = ()) -> Target:
    return file.target((*columns, *more), removed_records="mark")


def row(key: str, **cells: Cell) -> Row:
    return Row(
        key,
        key,
        {
            "ID": key,
            "Name": "Ada",
            "Status": "Active",
            "Company": "Engines",
            "Link": "https://www.example.com/?via=ada",
            "Clicks": 12_000,
            "Currency": "USD",
            "Revenue": Decimal("12.50"),
            "Joined": date(2026, 2, 3),
            "Removed": None,
            **cells,
        },
    )


def cell(file: SheetsFile, header: str, line: int = 1) -> Json:
    tab = file.tab
    place = tab.grid(1)[0].index(header)
    found: Json = tab.rows[line].cells.get(tab.columns[place], {})
    return found


def look(file: SheetsFile, header: str, line: int = 1) -> Json:
    found: Json = cell(file, header, line).get("userEnteredFormat", {})
    return found


def shown_pattern(file: SheetsFile, header: str, line: int = 1) -> str:
    return str(look(file, header, line).get("numberFormat", {}).get("pattern"))


def things(file: SheetsFile, kind: str) -> list[Json]:
    found: list[Json] = file.book.show({"sheets": {kind: None}}, {file.tab.id: []})["sheets"][0].get(kind, [])
    return found


# ---------------------------------------------------------------- set once


def test_a_tab_that_we_make_has_its_look_in_the_batch_that_makes_it(file: SheetsFile) -> None:
    file.book.locale = "en_US"
    file.sink().write(target(file), [row("a:1"), row("a:2", Status="Pending")])
    tab, right = file.tab, len(order)
    assert tab.grid(1)[0] == order
    assert (tab.frozen_rows, tab.frozen_columns, tab.color) == (1, 1, colour("3348C9"))
    assert [tag.value for tag in tab.tags if tag.key == "connector.look"] == ["1"]
    assert (tab.rows[0].pixels, [column.pixels for column in tab.columns[:5]]) == (36, [208, 124, 184, 188, 84])
    table = {"sheetId": tab.id, "startRowIndex": 0, "startColumnIndex": 0, "endColumnIndex": right}
    assert tab.filter == table

    header = look(file, "Name", 0)
    assert header["backgroundColorStyle"] == colour("E4E7F8")
    assert header["textFormat"] == {"bold": True, "fontSize": 10, "foregroundColorStyle": colour("1A1B1E")}
    assert (header["wrapStrategy"], header["verticalAlignment"], header["horizontalAlignment"]) == (
        "WRAP", "MIDDLE", "LEFT",
    )  # fmt: skip
    assert header["borders"]["bottom"] == {"style": "SOLID_MEDIUM", "colorStyle": colour("3348C9")}
    assert (look(file, "Clicks", 0)["horizontalAlignment"], look(file, "Clicks", 0)["padding"]["right"]) == (
        "RIGHT", 24,
    )  # fmt: skip

    for line in (1, 2, 150):
        assert look(file, "Name", line)["textFormat"] == {"bold": True}
        assert look(file, "ID", line)["textFormat"] == {"fontSize": 9, "foregroundColorStyle": colour("5F6067")}
        assert look(file, "Clicks", line)["horizontalAlignment"] == "RIGHT"
        assert look(file, "Clicks", line)["borders"]["left"]["style"] == "SOLID", "a block of figures begins"
        assert not look(file, "Company", line).get("borders")
        formats = [shown_pattern(file, name, line) for name in ("ID", "Clicks", "Revenue", "Joined", "Link")]
        assert formats == ["@", "#,##0", '"$"#,##0.00', "mmm d, yyyy", "None"]
    assert look(file, "Revenue")["numberFormat"]["type"] == "CURRENCY"

    (band,) = things(file, "bandedRanges")
    assert band["rowProperties"]["secondBandColorStyle"] == colour("F7F7FA")
    assert band["range"] == {"sheetId": tab.id, "startColumnIndex": 0, "endColumnIndex": right}, "no last row"
    (view,) = things(file, "filterViews")
    assert (view["title"], view["sortSpecs"]) == ("Needs us", [{"dimensionIndex": 7, "sortOrder": "ASCENDING"}])
    assert view["filterSpecs"] == [
        {"columnIndex": 1, "filterCriteria": {"hiddenValues": ["Active", "Rejected", "Blocked"]}}
    ]
    (key,) = things(file, "protectedRanges")
    assert (key["warningOnly"], key["description"]) == (
        True, "ID finds the row again. Sorting is fine; please don't change it.",
    )  # fmt: skip
    assert (key["range"]["startColumnIndex"], key["range"]["endColumnIndex"]) == (9, 10)


def test_trouble_has_a_colour_on_top_of_its_word_in_every_row(file: SheetsFile) -> None:
    file.sink().write(target(file), [row(f"a:{number}") for number in range(30)])
    rules = {
        rule["booleanRule"]["condition"]["values"][0]["userEnteredValue"]: rule
        for rule in things(file, "conditionalFormats")
    }
    assert set(rules) == {"Pending", "Rejected", "Blocked", "0", '=AND(ROW()>1,$I1<>"")'}
    pending = rules["Pending"]["booleanRule"]["format"]
    assert pending["backgroundColorStyle"] == colour("FDF0D2")
    assert pending["textFormat"] == {"bold": True, "italic": False, "foregroundColorStyle": colour("8A5600")}
    assert rules["Rejected"]["booleanRule"]["format"]["textFormat"]["italic"] is True
    for rule in rules.values():  # the first rows were inserted below the header, and no rule moved down with them
        assert "endRowIndex" not in rule["ranges"][0]
        assert rule["ranges"][0].get("startRowIndex", 0) == 0


def test_a_header_has_a_note_that_says_what_it_is_and_what_becomes_of_typing(file: SheetsFile) -> None:
    file.sink().write(target(file), [row("a:1")])
    notes = {name: cell(file, name, 0)["note"].split("\n") for name in order}
    assert notes["Clicks"] == [
        "Visits that came by the link.", "From: Clicks", "Don't type here: the platform's value comes back.",
    ]  # fmt: skip
    assert notes["ID"][-1] == "Don't change it: it finds the row. Sort as you like."
    assert notes["Name"][-1] == "Last updated: 20 Nov 2026, 12:00"


def test_a_width_fits_nine_in_ten_of_the_first_values(file: SheetsFile) -> None:
    rows = [row(f"a:{number}", Company="x" * 30) for number in range(50)]
    file.sink().write(target(file), rows)
    widths = {name: column.pixels for name, column in zip(order, file.tab.columns, strict=True)}
    assert (widths["Company"], widths["Status"]) == (7 * 30 + 20, 124)


def test_people_keep_whatever_they_make_of_the_look(file: SheetsFile) -> None:
    sink = file.sink()
    sink.write(target(file), [row("a:1")])
    tab = file.tab
    tab.columns[0].pixels, tab.things, tab.protected, tab.filter = 300, [], [], None
    for line in tab.rows:
        for place, found in line.cells.items():
            line.cells[place] = {"userEnteredValue": found.get("userEnteredValue", {})}
            if order[tab.columns.index(place)] == "Link" and line is tab.rows[1]:
                line.cells[place] = found
    tab.put(1, 0, "Ada", userEnteredFormat={"backgroundColor": {"red": 1}})
    before = len(file.server.calls)
    sink.write(target(file), [replace(row("a:1", Name="New", Clicks=1), last=row("a:1").cells)])
    sent = [next(iter(request)) for call in file.server.calls[before:] for request in call.json.get("requests", ())]
    assert set(sent) <= {"updateCells", "createDeveloperMetadata", "deleteDeveloperMetadata"}
    assert look(file, "Name") == {"backgroundColor": {"red": 1}}
    assert (tab.columns[0].pixels, tab.things, tab.protected, tab.filter) == (300, [], [], None)
    assert "note" not in cell(file, "Name", 0)


def test_a_tab_that_people_made_stays_as_it_is(file: SheetsFile) -> None:
    file.book.add("Affiliates", [["ID", "Name", "Status", "Link", "Theirs"], ["a:1", "Zoe"]])
    tab, sink = file.tab, file.sink()
    tab.columns[3].pixels = 77
    theirs = {"backgroundColor": {"red": 1}}
    for line in (0, 1):
        tab.put(line, 3, tab.value(line, 3), userEnteredFormat=theirs)
    for _ in range(2):
        sink.write(target(file), [row("a:1"), row("a:2")])
    assert tab.grid(1)[0][:5] == ["ID", "Name", "Status", "Link", "Company"], "right of the last managed one"
    assert (tab.things, tab.protected, tab.frozen_rows, tab.color, tab.filter) == ([], [], 0, None, None)
    assert not any("note" in found for line in tab.rows for found in line.cells.values())
    assert look(file, "ID", 0) == look(file, "Theirs", 0) == {}
    assert look(file, "Link", 0) == look(file, "Company", 0) == look(file, "Joined", 0) == theirs
    assert [column.pixels for column in tab.columns[:8]] == [100, 100, 100, 77, 77, 77, 77, 77], "as the left neighbour"
    assert [shown_pattern(file, "Joined", line) for line in (1, 2)] == ["d mmm yyyy"] * 2, "else it would be a number"
    assert [shown_pattern(file, "Revenue", line) for line in (1, 2)] == ["#,##0.00"] * 2
    assert look(file, "Link")["textFormat"]["link"] == {"uri": "https://www.example.com/?via=ada"}


def test_an_empty_tab_that_people_add_for_us_gets_the_look(file: SheetsFile) -> None:
    file.book.add("Affiliates")
    file.sink().write(target(file), [row("a:1")])
    assert file.tab.grid(1)[0][: len(order)] == order
    assert (file.tab.frozen_rows, file.tab.frozen_columns) == (1, 1)
    assert len(things(file, "bandedRanges")) == 1
    assert shown_pattern(file, "Revenue") == '"$"#,##0.00'
    assert [tag.value for tag in file.tab.tags if tag.key == "connector.look"] == ["1"]


def test_a_column_that_we_add_later_to_our_tab_is_dressed_and_filter_and_bands_cover_it(file: SheetsFile) -> None:
    file.sink().write(target(file), [row("a:1")])
    city = Column("City", paths=("address.city",))
    file.sink().write(target(file, (city,)), [row("a:1", City="London")])
    assert file.tab.grid(2)[1][file.tab.grid(1)[0].index("City")] == "London"
    assert file.tab.grid(1)[0][: len(order) + 1] == [*order, "City"]
    assert look(file, "City", 0)["backgroundColorStyle"] == colour("E4E7F8")
    assert cell(file, "City", 0)["note"].startswith("The city.\n")
    assert things(file, "bandedRanges")[0]["range"]["endColumnIndex"] == len(order) + 1
    assert file.tab.filter is not None
    assert file.tab.filter["endColumnIndex"] == len(order) + 1


def test_where_google_refuses_the_look_the_tab_is_made_without(file: SheetsFile) -> None:
    refused = Reply(400, {"error": {"code": 400, "message": "Invalid requests[30].addBanding: no"}})
    file.server.fault_for = lambda call: Fault("status", refused) if b"addBanding" in call.body else None
    sink = file.sink()
    assert sink.write(target(file), [row("a:1")])[0].kind == "written"
    assert file.tab.grid(1)[0] == order
    assert shown_pattern(file, "Revenue") == "#,##0.00"
    assert not any(tag.key == "connector.look" for tag in file.tab.tags)
    file.book.add("Empty")
    assert sink.write(file.target(columns, tab="Empty"), [row("a:1")])[0].kind == "written"


# ---------------------------------------------------------------- Google's blank first tab


def test_googles_blank_first_tab_is_deleted_with_the_first_tab_that_we_make(tmp_path: Path) -> None:
    with SheetsFile(tmp_path) as file:
        file.book.tabs = []
        file.book.add("Sheet1")
        file.sink().write(target(file), [row("a:1")])
        assert [tab.title for tab in file.book.tabs] == ["Affiliates"]


@pytest.mark.parametrize("what", ["a value", "a note", "a chart", "another tab"])
def test_a_first_tab_with_something_in_it_stays(file: SheetsFile, what: str) -> None:
    first = file.book.tabs[0]
    first.put(0, 0, "x" if what == "a value" else None, **({"note": "mine"} if what == "a note" else {}))
    if what == "a chart":
        first.cover("charts", 5, 6, 0, 1, chartId=7)
    if what == "another tab":
        file.book.add("Other")
    file.sink().write(target(file), [row("a:1")])
    assert "Sheet1" in [tab.title for tab in file.book.tabs]


# ---------------------------------------------------------------- currencies, locales, links


def test_amounts_have_the_sign_of_their_rows_currency(file: SheetsFile) -> None:
    sink = file.sink()
    sink.write(target(file), [row("a:1"), row("a:2", Currency="EUR"), row("a:3", Currency="JPY"), row("a:4")])
    signs = ['"$"#,##0.00', '"€"#,##0.00', '"¥"#,##0', '"$"#,##0.00']
    assert [shown_pattern(file, "Revenue", line) for line in (1, 2, 3, 4)] == signs
    assert shown_pattern(file, "Revenue", 50) == "#,##0.00#", "several currencies: none is the tab's"
    sink.write(target(file), [row("a:5", Currency=None), replace(row("a:1", Currency="CAD"), last=row("a:1").cells)])
    assert [shown_pattern(file, "Revenue", line) for line in (1, 2, 5)] == ['"CA$"#,##0.00', signs[1], "#,##0.00#"]


def test_rows_that_take_prepared_rows_have_the_sign_of_their_currency_too(file: SheetsFile) -> None:
    sink = file.sink()
    sink.provision(target(file))
    assert shown_pattern(file, "Revenue", 1) == "#,##0.00#"
    sink.write(target(file), [row("a:1"), row("a:2", Currency="EUR")])
    assert [shown_pattern(file, "Revenue", line) for line in (1, 2)] == ['"$"#,##0.00', '"€"#,##0.00']


def test_dates_and_amounts_are_written_as_the_spreadsheets_locale_does(file: SheetsFile) -> None:
    file.book.locale = "de_DE"
    file.sink().write(target(file), [row("a:1", Currency="EUR")])
    assert (shown_pattern(file, "Joined"), shown_pattern(file, "Revenue")) == ("dd.mm.yyyy", '#,##0.00" €"')


@pytest.mark.parametrize(
    ("locale", "pattern"),
    [
        ("en_GB", "d mmm yyyy"), ("en_US", "mmm d, yyyy"), ("de_DE", "dd.mm.yyyy"), ("fr_FR", "d mmm yyyy"),
        ("ja_JP", "yyyy/mm/dd"), ("pt_BR", 'd "de" mmm "de" yyyy'), ("zh_CN", 'yyyy"年"m"月"d"日"'),
        ("ar_EG", "dd/mm/yyyy"), ("", "d mmm yyyy"), ("xx_YY", "d mmm yyyy"), ("no such", "d mmm yyyy"),
    ],
)  # fmt: skip
def test_a_date_is_in_the_medium_form_of_its_locale(locale: str, pattern: str) -> None:
    assert region_of(locale, "Europe/London").date == pattern


def test_a_time_zone_that_nobody_knows_is_utc() -> None:
    assert str(region_of("en_GB", "Nowhere/At_all").zone) == str(region_of("en_GB", "").zone) == "UTC"


def test_a_link_is_short_text_that_opens_the_whole_address_and_never_a_formula(file: SheetsFile) -> None:
    sink = file.sink()
    unsafe = "javascript:alert(1)"
    sink.write(target(file), [row("a:1"), row("a:2", Link=unsafe), row("a:3", Link=None), row("a:4", Link="ftp://x.y")])
    place = order.index("Link")
    assert [line[place] for line in file.tab.grid(5)[1:]] == ["example.com/?via=ada", unsafe, None, "ftp://x.y"]
    links = [look(file, "Link", line).get("textFormat", {}).get("link") for line in (1, 2, 3, 4)]
    assert links == [{"uri": "https://www.example.com/?via=ada"}, None, None, None]
    text = look(file, "Link")["textFormat"]
    assert (text["foregroundColorStyle"], text["underline"]) == (colour("3348C9"), False)
    assert file.calls_of(lambda: sink.write(target(file), [row("a:1"), row("a:2", Link=unsafe)])) == "r"


def test_a_changed_address_under_equal_text_is_written(file: SheetsFile) -> None:
    sink = file.sink()
    sink.write(target(file), [row("a:1")])
    sink.write(target(file), [row("a:1", Link="http://example.com/?via=ada")])
    assert cell(file, "Link")["userEnteredValue"] == {"stringValue": "example.com/?via=ada"}
    assert look(file, "Link")["textFormat"]["link"] == {"uri": "http://example.com/?via=ada"}
    sink.write(target(file), [row("a:1", Link=None)])
    assert "userEnteredValue" not in cell(file, "Link")
    assert "link" not in look(file, "Link").get("textFormat", {})


def test_several_links_in_a_cell_each_open_their_address(file: SheetsFile) -> None:
    wide = target(file, (Column("Pages", type="list", overwrite="always"),))
    pages = ("https://a.example.com/?via=ada", "none \U0001f600", "https://b.example.com")
    sink = file.sink()
    sink.write(wide, [row("a:1", Pages=pages), row("a:2", Pages=("one", "two")), row("a:3", Pages=pages[:1])])

    def links(line: int) -> dict[str, str | None]:
        """By the text of each run, where a click on it leads."""
        found = cell(file, "Pages", line)
        text = found["userEnteredValue"]["stringValue"].encode("utf-16-le")
        begins = [run["startIndex"] for run in found.get("textFormatRuns", ())]
        ends = [*begins[1:], len(text) // 2]
        return {
            text[2 * begin : 2 * end].decode("utf-16-le"): run["format"].get("link", {}).get("uri")
            for run, begin, end in zip(found.get("textFormatRuns", ()), begins, ends, strict=False)
        }

    assert cell(file, "Pages")["userEnteredValue"] == {"stringValue": ", ".join(pages)}
    assert links(1) == {pages[0]: pages[0], ", none \U0001f600, ": None, pages[2]: pages[2]}
    assert links(2) == {}
    assert links(3) == {pages[0]: pages[0]}
    # Nothing is written where nothing changed; a changed address changes its text, and the runs with it.
    was = row("a:1", Pages=pages).cells
    assert file.calls_of(lambda: sink.write(wide, [replace(row("a:1", Pages=pages), last=was)])) == "r"
    sink.write(wide, [replace(row("a:1", Pages=("http://a.example.com/?via=ada", "x")), last=was)])
    assert links(1) == {"http://a.example.com/?via=ada": "http://a.example.com/?via=ada", ", x": None}
    sink.write(wide, [replace(row("a:1", Pages=()), last=row("a:1", Pages=pages[:1]).cells)])
    assert "textFormatRuns" not in cell(file, "Pages")


def test_a_preview_shows_addresses(file: SheetsFile) -> None:
    sink = file.sink()
    sink.write(target(file), [row("a:1")])
    (change,) = sink.preview(target(file), [row("a:1", Link="https://example.com/new")])
    assert dict(change.cells) == {"Link": ("https://www.example.com/?via=ada", "https://example.com/new")}


# ---------------------------------------------------------------- "Last updated"


def test_last_updated_is_renewed_with_a_write_after_15_minutes_in_the_time_of_the_spreadsheet(file: SheetsFile) -> None:
    file.book.time_zone = "America/New_York"
    sink = file.sink()

    def updated(name: str) -> str:
        sink.write(target(file), [row("a:1", Name=name)])
        return str(cell(file, "Name", 0)["note"].rpartition("\nLast updated: ")[2])

    assert updated("Ada") == "20 Nov 2026, 07:00"
    file.host.advance(14 * 60)
    assert updated("Bob") == "20 Nov 2026, 07:00"
    file.host.advance(60)
    before = file.server.kinds()
    assert updated("Bob") == "20 Nov 2026, 07:00", "nothing was written"
    assert file.server.kinds()[len(before) :] == "r"
    assert updated("Cleo") == "20 Nov 2026, 07:15"
    span = {"sheetId": file.tab.id, "dimension": "COLUMNS", "startIndex": 0, "endIndex": 1}
    file.book.edit({"moveDimension": {"source": span, "destinationIndex": 3}})
    file.host.advance(3600)
    assert updated("Dan") == "20 Nov 2026, 08:15", "wherever people move the column"


@pytest.mark.parametrize("edited", ["mine", None, "mine\nLast updated: 20 Nov 2026, 12:00"])
def test_a_note_that_people_edited_is_left_alone(file: SheetsFile, edited: Any) -> None:
    sink = file.sink()
    sink.write(target(file), [row("a:1")])
    header = file.tab.rows[0].cells[file.tab.columns[0]]
    header.pop("note")
    header |= {"note": edited} if edited else {}
    file.host.advance(3600)
    sink.write(target(file), [row("a:1", Name="New")])
    assert file.tab.rows[0].cells[file.tab.columns[0]].get("note") == edited
