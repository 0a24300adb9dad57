"""Makes docs/pictures: terminal, sheet, workbook and page, from the program's own output and invented affiliates.

`python -m tools.pictures` needs LibreOffice, poppler's pdftoppm, and Chromium. All people and figures are invented.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from connector import app
from connector import config as configuration
from connector.assembly import build_sources
from connector.cli.month import month
from connector.core.source import InboundRequest
from connector.dead_letters import Letter, LetterFile
from connector.settings import Config
from connector.store import Store
from connector.store.model import RouteState
from tests.far_sides.sheets_book import Book, Tab
from tests.far_sides.sheets_server import SheetsServer
from tests.page.browser import browser, page_of, required
from tools import page_pictures

_ROOT = Path(__file__).parent.parent
PICTURES = _ROOT / "docs" / "pictures"
_TOKENS = {"firstpromoter": "fp-t0ken-of-the-pictures-7c1Zq", "everflow": "ef-t0ken-of-the-pictures-9Xk2w"}
_PASSWORD = "of-the-pictures"  # noqa: S105 - of a server that lives for some seconds
_CONFIGURATION = f"""
[server]
port = PORT
[page]
password = "{_PASSWORD}"
[sources.firstpromoter]
type = "firstpromoter"
token = "{_TOKENS["firstpromoter"]}"
[sources.everflow]
type = "everflow"
token = "{_TOKENS["everflow"]}"
[sinks.excel]
type = "xlsx"
path = "affiliates.xlsx"
mappings = ["mappings/affiliates.toml"]
[sinks.sheets]
type = "google_sheets"
spreadsheet = "SPREADSHEET"
base_url = "ADDRESS"
credentials_file = "key.json"
mappings = ["mappings/partners.toml"]
"""
_SHOWN_ROWS, _SHOWN_COLUMNS = 14, 10


def main() -> None:
    """Make all pictures anew."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        book = Book()
        tab = book.add("Sheet1")
        with SheetsServer(book) as server:
            settings = _installation(folder, server)
            _receive(settings)
            app.drain(settings)
            _calm(folder, settings.server.port)
        tab = next(tab for tab in book.tabs if tab.title != "Sheet1")
        _terminals(folder, settings)
        _workbook(folder)
        _photograph(_sheet(tab), PICTURES / "sheet.png", (1180, 431))
    page_pictures.main()


# ---------------------------------------------------------------- an installation with a month of affiliates


def _installation(folder: Path, server: SheetsServer) -> Config:
    (folder / "mappings").mkdir()
    for original, copy in (("local_csv", "affiliates"), ("google_sheets", "partners")):
        text = (_ROOT / "mappings" / f"{original}.toml").read_text(encoding="utf-8")
        (folder / "mappings" / f"{copy}.toml").write_text(text, encoding="utf-8")
    text = _CONFIGURATION.replace("SPREADSHEET", server.book.id).replace("ADDRESS", server.url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        text = text.replace("PORT", str(free.getsockname()[1]))
    (folder / "config.toml").write_text(text, encoding="utf-8")
    (folder / "key.json").write_text(json.dumps(server.credentials()), encoding="utf-8")
    return configuration.load(folder / "config.toml", {})


def _receive(settings: Config) -> None:
    now = datetime.now(UTC)
    sources = build_sources(settings)
    store = Store(settings.store.url, worker=False, now=lambda: now)
    for hook in month(now.replace(microsecond=0)):
        header = (b"authorization", f"Bearer {_TOKENS[hook.source]}".encode())
        query = f"topic={hook.topic}".encode() if hook.topic else b""
        store.append([sources[hook.source].accept(InboundRequest([header], query, hook.body, hook.at))])
    store.close()


# ---------------------------------------------------------------- the terminal, as SVG


def _calm(folder: Path, port: int) -> None:
    """`status` of a running server when nothing is to do, and its page."""
    command = [sys.executable, "-m", "connector", "serve"]
    with (folder / "log").open("w", encoding="utf-8") as log:
        serving = subprocess.Popen(command, cwd=folder, stderr=log)
    try:
        shown: list[str] = []
        for _ in range(50):
            shown = _typed(folder, "status")
            if any("up to date" in line for line in shown):
                break
            time.sleep(0.2)
        (PICTURES / "status.svg").write_text(_svg(shown), encoding="utf-8")
        with browser(required()) as chromium, page_of(chromium, f"http://localhost:{port}", size=(1180, 760)) as page:
            page.goto("/")
            page.get_by_label("Password").fill(_PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("heading").first.wait_for()
            page.screenshot(path=PICTURES / "page.png")
    finally:
        serving.terminate()
        serving.wait(20)


def _terminals(folder: Path, settings: Config) -> None:
    """`status` when something needs a person, and `check` of a mapping with mistakes."""
    now = datetime.now(UTC)
    letters = LetterFile(settings.dead_letters.path, now=lambda: now - timedelta(days=3))
    reason = "the e-mail address belongs to another contact"
    letters.add([Letter("deliver", "excel/affiliates", f"firstpromoter:{n}", reason) for n in range(41_000, 41_014)])
    store = Store(settings.store.url, worker=False, now=lambda: now - timedelta(hours=3))
    account = "add connector@partners.example.com as Editor"
    why = f"The spreadsheet is no longer shared with the connector. Open it, press Share, and {account}."
    store.set_route_state("sheets/partners", RouteState("needs_action", why, since=now - timedelta(hours=3)))
    store.enqueue("sheets/partners", store.record_ids("", 37))
    store.close()
    (PICTURES / "trouble.svg").write_text(_svg(_typed(folder, "status")), encoding="utf-8")
    mapping = folder / "mappings" / "affiliates.toml"
    text = mapping.read_text(encoding="utf-8")
    planted = '"Mail" = { from = "emial", type = "email" }\n"Tier" = "{{custom.tier}}"\n'
    mapping.write_text(text.replace("[fields]\n", f"[fields]\n{planted}", 1), encoding="utf-8")
    (PICTURES / "check.svg").write_text(_svg(_typed(folder, "check")), encoding="utf-8")
    mapping.write_text(text, encoding="utf-8")


def _typed(folder: Path, *words: str) -> list[str]:
    command = [sys.executable, "-m", "connector", *words]
    environment = {**os.environ, "TZ": "UTC"}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", env=environment, timeout=60, check=False
    )
    return [f"$ connector {' '.join(words)}", *(done.stderr + done.stdout).splitlines()]


_COLOURS = (
    (re.compile(r"^(✓)(?= )"), "#1a7f37"),
    (re.compile(r"^(!)(?= )"), "#8a5600"),
    (re.compile(r"^(✗)(?= )"), "#b3261e"),
    (re.compile(r"^ +(\^+)$"), "#b3261e"),
)
_CELL, _LINE = 8.4, 19


def _svg(lines: Sequence[str]) -> str:
    """A terminal of 80 columns with these lines."""
    width, height = round(80 * _CELL) + 32, len(lines) * _LINE + 30
    shown = []
    for number, line in enumerate(lines):
        text = html.escape(line, quote=False)
        for pattern, colour in _COLOURS:
            if found := pattern.search(line):
                marked = f'<tspan fill="{colour}">{html.escape(found[1])}</tspan>'
                text = html.escape(line[: found.start(1)]) + marked + html.escape(line[found.end(1) :], quote=False)
        y = 27 + number * _LINE
        shown.append(f'<text x="16" y="{y}" textLength="{_cells(line) * _CELL:.1f}" xml:space="preserve">{text}</text>')
    style = "font: 14px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #1a1b1e"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="#f7f7fa" stroke="#c3c6d8"/>\n'
        f'<g style="{style}">\n' + "\n".join(shown) + "\n</g>\n</svg>\n"
    )


def _cells(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


# ---------------------------------------------------------------- the workbook, as LibreOffice shows it


def _workbook(folder: Path) -> None:
    _run("soffice", "--headless", "--convert-to", "pdf", "affiliates.xlsx", cwd=folder)
    _run("pdftoppm", "-png", "-r", "96", "-f", "1", "-l", "1", "affiliates.pdf", "page", cwd=folder)
    (page,) = folder.glob("page*.png")
    shutil.copyfile(page, PICTURES / "workbook.png")


def _run(*words: str, cwd: Path) -> None:
    home = {**os.environ, "HOME": str(cwd)}
    subprocess.run(words, cwd=cwd, env=home, check=True, capture_output=True, timeout=180)


# ---------------------------------------------------------------- the sheet, as Google would show it


def _sheet(tab: Tab) -> str:
    """The first rows and columns of the tab with the look that was written, as a page."""
    columns = range(min(_SHOWN_COLUMNS, len(tab.columns)))
    letters = "".join(f"<th class=a>{chr(65 + column)}</th>" for column in columns)
    widths = "".join(f'<col style="width:{tab.columns[column].pixels}px">' for column in columns)
    rows = "".join(
        f"<tr><th class=a>{row + 1}</th>{''.join(_cell(tab, row, column) for column in columns)}</tr>"
        for row in range(_SHOWN_ROWS)
    )
    return f"""<!doctype html><meta charset=utf-8><style>
body {{ margin: 0; font: 13px Arial, "Liberation Sans", sans-serif; background: #fff; color: #1a1b1e }}
table {{ border-collapse: collapse; table-layout: fixed; width: 10px }}
td, th {{ border: 1px solid #e1e1e6; padding: 0 8px; height: 28px; overflow: hidden; white-space: nowrap }}
th.a {{ background: #f3f3f5; color: #5f6067; font-weight: 400; height: 22px; padding: 0 }}
</style><table><colgroup><col style="width:40px">{widths}</colgroup><tr><th class=a></th>{letters}</tr>{rows}</table>"""


def _cell(tab: Tab, row: int, column: int) -> str:
    cell = tab.rows[row].cells.get(tab.columns[column], {})
    look: dict[str, Any] = cell.get("userEnteredFormat", {})
    styles = list(_styles(look))
    if row and not any(style.startswith("background") for style in styles) and row % 2 == 0:
        styles.append("background:#f7f7fa")
    text = _shown(tab.value(row, column), look.get("numberFormat", {}))
    status = {"Pending": "#fdf0d2;color:#8a5600;font-weight:700", "Blocked": "#fbe3e0;color:#b3261e;font-weight:700"}
    if text in status:
        styles.append(f"background:{status[text]}")
    elif text in ("Rejected", "Inactive"):
        styles.append("background:#f0f0f3;color:#5f6067;font-style:italic")
    return f'<td style="{";".join(styles)}">{html.escape(text)}</td>'


def _styles(look: dict[str, Any]) -> Iterator[str]:
    for key, name in (("backgroundColorStyle", "background"), ("backgroundColor", "background")):
        if key in look:
            yield f"{name}:{_colour(look[key])}"
    text = look.get("textFormat", {})
    if text.get("bold"):
        yield "font-weight:700"
    if "foregroundColorStyle" in text:
        yield f"color:{_colour(text['foregroundColorStyle'])}"
    yield f"text-align:{look.get('horizontalAlignment', 'left').lower()}"


def _colour(style: dict[str, Any]) -> str:
    rgb = style.get("rgbColor", style)
    return "#" + "".join(f"{round(255 * rgb.get(part, 0)):02x}" for part in ("red", "green", "blue"))


def _shown(value: Any, number_format: dict[str, Any]) -> str:
    """What Google shows for *value* in a format of ours."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "" if value is None else str(value)
    kind = number_format.get("type", "")
    if kind.startswith("DATE"):
        day = date(1899, 12, 30) + timedelta(days=int(value))
        clock = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=value % 1)
        return f"{day.day} {day:%b %Y}" + (f", {clock:%H:%M}" if kind == "DATE_TIME" else "")
    pattern = number_format.get("pattern", "")
    sign = (re.findall(r'"([^"]*)"', pattern) or [""])[0]
    return f"{sign}{value:,.2f}" if ".0" in pattern else f"{value:,.0f}"


def _photograph(text: str, to: Path, size: tuple[int, int]) -> None:
    """A picture of that HTML page."""
    with browser(required()) as chromium, page_of(chromium, "http://127.0.0.1", size=size) as page:
        page.set_content(text)
        page.screenshot(path=to)


if __name__ == "__main__":
    main()
