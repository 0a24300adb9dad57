"""Prints what a command found: as JSON, or as lines and tables for people."""

from __future__ import annotations

import json
import re
import sys
import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import ClassVar, TextIO

import msgspec
from msgspec import Struct

from connector import config as configuration
from connector import phrases
from connector.cli.exits import OK
from connector.phrases import duration as duration  # for commands: all that they print with is found here
from connector.phrases import many as many


class Report(Struct, kw_only=True):
    """What a command found or did: the answer, what a person acts on, the one thing to do next.

    Args:
        summary: the answer, in a sentence. In ``--json`` it comes first, and the fields of the command follow.
        level: of the mark before it, as in ``mark``; "" for none.
        next: a command, or a few words; "" where nothing is to do.
    """

    for_people: ClassVar[frozenset[str]] = frozenset()
    """Fields that ``--json`` does not print."""
    summary: str
    level: str = ""
    next: str = ""

    def lines(self) -> Iterator[str]:
        """All of it for people."""
        yield from marked(self.level, self.summary)
        yield from self.body()
        if self.next:
            yield f"Next: {self.next}"

    def body(self) -> Iterable[str]:
        """What is between the first line and the last."""
        return ()

    def exit_code(self) -> int:
        return OK

    def for_json(self) -> Mapping[str, object]:
        """What the command found or did, by name."""
        hidden = {*Report.__struct_fields__, *self.for_people}
        return {name: getattr(self, name) for name in self.__struct_fields__ if name not in hidden}


def show(report: Report, *, as_json: bool = False) -> int:
    """Print *report*; the exit code that it gives."""
    if as_json:
        say_json({"summary": report.summary, **report.for_json(), "next": report.next})
    else:
        for line in report.lines():
            say(line)
    return report.exit_code()


def say(line: str = "") -> None:
    """Print a line; what would control a terminal is shown instead of obeyed, since parts come from strangers."""
    sys.stdout.write(painted(harmless(line), sys.stdout) + "\n")


def say_json(value: object) -> None:
    text = json.dumps(msgspec.to_builtins(value, enc_hook=str), ensure_ascii=False, indent=2)
    # Whatever would control a terminal is written as \u009b, which any reader of JSON turns back.
    say("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def harmless(text: str) -> str:
    """*text* with its control characters shown, as ``\\x1b``; those of ``isolated`` stay where they come in pairs."""
    paired = text.count(_ISOLATE) == text.count(_END)
    return "".join(
        c if c.isprintable() or c == "\n" or (paired and c in _ISOLATE + _END) else repr(c)[1:-1] for c in text
    )


_ISOLATE, _END = "\u2068", "\u2069"


def isolated(text: str) -> str:
    """A stranger's *text* that may run from right to left, so that it does not turn the words beside it around."""
    if not any(unicodedata.bidirectional(c) in ("R", "AL", "AN", "RLE", "RLO", "RLI") for c in text):
        return text
    return f"{_ISOLATE}{text.replace(_ISOLATE, '').replace(_END, '')}{_END}"


_RED, _GREEN, _YELLOW, _DIM, _NORMAL = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
_PAINTS = (
    (re.compile(r"^(\u2713|ok)(?= )"), _GREEN),
    (re.compile(r"^!(?= )"), _YELLOW),
    (re.compile(r"^(\u2717|x)(?= )"), _RED),
    (re.compile(r"^ +\^+$"), _RED),
    (re.compile(r"(?<=  )\S+\.toml:\d+$|(?<=, )[\d,]+ more$"), _DIM),
)
"""Colour is for trouble: the marks, what is wrong in a line, and quietly where something is from."""


def painted(text: str, stream: TextIO) -> str:
    """*text* with colours, on a terminal that shows them."""
    if not stream.isatty() or not configuration.wants_colours():
        return text
    for pattern, colour in _PAINTS:
        text = pattern.sub(rf"{colour}\g<0>{_NORMAL}", text)
    return text


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table: numbers to the right, columns that are empty in every row left out."""
    rows = list(rows)
    cells = [[cell_text(cell) for cell in row] for row in rows]
    shown = [i for i in range(len(headings)) if not cells or any(row[i] for row in cells)]
    numeric = {i: all(isinstance(row[i], int) for row in rows) for i in shown}
    lines = [list(headings), *cells]
    widths = {i: max(cells_wide(line[i]) for line in lines) for i in shown}

    def padded(text: str, i: int) -> str:
        blanks = " " * (widths[i] - cells_wide(text))
        return blanks + text if numeric[i] else text + blanks

    return ["  ".join(padded(line[i], i) for i in shown).rstrip() for line in lines]


def width() -> int:
    """How many cells a line may take: the terminal's, 60 to 120; 80 without one."""
    return min(120, max(60, get_terminal_size().columns)) if sys.stdout.isatty() else 80


_COMMAND = re.compile(r"(?<=: )connector [^.;,]+|--[a-z-]+ [A-Z]+")
_JOINED = "\ue000"  # of a private use: no text has it


def wrapped(text: str, *, indent: int = 0, first: int | None = None) -> list[str]:
    """*text* in lines of the terminal's width, the *first* indented otherwise; words, paths and commands stay whole."""
    text = harmless(text).replace("\n", " ")
    text = _COMMAND.sub(lambda found: found[0].replace(" ", _JOINED), text)
    lines = textwrap.wrap(
        text, width(), initial_indent=" " * (indent if first is None else first), subsequent_indent=" " * indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(_JOINED, " ") for line in lines]


def marked(level: str, text: str, *below: str) -> Iterator[str]:
    """*text* behind the mark of that *level* ("": none), then each of *below*, two columns in; wrapped."""
    yield from wrapped(f"{mark(level)} {text}" if level else text, indent=2 if level else 0, first=0)
    for more in below:
        yield from wrapped(more, indent=2)


def mark(level: str) -> str:
    """The sign of a line that is ``ok``, good to know (``notice``), ``waiting`` for a person, or a ``problem``."""
    signs = {"ok": ("\u2713", "ok"), "notice": ("\u00b7", "-"), "waiting": ("!", "!"), "problem": ("\u2717", "x")}
    return signs[level][_is_plain(sys.stdout)]


def _is_plain(stream: TextIO) -> bool:
    """Whether only ASCII is sure to be shown there."""
    return (stream.encoding or "").lower() not in ("utf-8", "utf8")


def beside(text: str, place: str) -> str:
    """*text* with *place* at the right edge."""
    text = harmless(text)
    return f"{text}  {harmless(place).rjust(width() - cells_wide(text) - 2)}".rstrip()


class Progress:
    """One line on stderr that says how far something is: from the second second, twice a second, never in a pipe."""

    def __init__(self) -> None:
        self._shown = time.monotonic() + 1.0
        self._is_seen = sys.stderr.isatty() and not configuration.is_dumb_terminal()

    def __enter__(self) -> Progress:
        return self

    def show(self, line: str) -> None:
        if self._is_seen and time.monotonic() - self._shown >= 0.5:
            self._shown = time.monotonic()
            sys.stderr.write(f"\r\x1b[K{harmless(line)}")
            sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._is_seen:
            sys.stderr.write("\r\x1b[K")


def followed(look: Callable[[], bool | None], doing: Callable[[], str], seconds: float) -> bool:
    """Ask *look* until it answers, and show what is *doing*; False where it takes longer than that many *seconds*."""
    ends = time.monotonic() + seconds
    with Progress() as progress:
        while (found := look()) is None and time.monotonic() < ends:
            progress.show(f"  {doing()}")
            time.sleep(_LOOK_EVERY_SECONDS)
    return bool(found)


_LOOK_EVERY_SECONDS = 0.1


def bar(share: float) -> str:
    """A bar of 20 cells of which that *share* is full."""
    full, empty = ("#", ".") if _is_plain(sys.stderr) else ("\u2588", "\u2591")
    return full * round(20 * share) + empty * (20 - round(20 * share))


def arrow() -> str:
    """What is between an old value and a new one."""
    return "->" if _is_plain(sys.stdout) else "\u2192"


def shortened(text: str, most: int) -> str:
    """*text* in at most *most* cells of the terminal; what is cut ends with three dots."""
    if cells_wide(text) <= most:
        return text
    dots = "..." if _is_plain(sys.stdout) else "\u2026"
    while cells_wide(text) > most - len(dots):
        text = text[:-1]
    return text + dots


def visible_spaces(text: str) -> str:
    """*text* with dots for the spaces that are not between two words: they matter in a comparison."""
    dot = "." if _is_plain(sys.stdout) else "\u00b7"
    return re.sub(r"^ +| +$| {2,}", lambda spaces: dot * len(spaces[0]), text)


def cell_text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    if isinstance(cell, tuple):
        return ", ".join(str(part) for part in cell)
    return isolated(harmless(str(cell)).replace("\n", "\\n"))


def cells_wide(text: str) -> int:
    """How many cells of a terminal *text* takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 or c in _ISOLATE + _END for c in text)


# ---------------------------------------------------------------- words


def ago(moment: datetime | None) -> str:
    return phrases.ago(moment, datetime.now(UTC))


def day(moment: datetime) -> str:
    return phrases.day(moment, datetime.now(UTC))


def sentence(text: str) -> str:
    """*text* as a sentence: it begins with a capital where it begins with a word, and ends with a full stop."""
    first = re.match(r"[a-z-]+(?=[ ,])", text)
    text = text[0].upper() + text[1:] if first else text
    return text if text.endswith((".", "?", "!", "\u2026")) else f"{text}."
