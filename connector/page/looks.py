"""How things look: templates with their words, and the files that browsers keep. Everything is escaped."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from connector.page.asking import Inside
from connector.page.door import Visitor
from connector.page.live import Line
from connector.phrases import duration, many

_FOLDER: Final = Path(__file__).parent
_LONGEST_VALUE: Final = 500  # characters, in a list; the affiliate's page shows all
_TINTED: Final = 5  # rows that come in at once; where there are more, all is new
THEMES: Final = ("light", "dark")
_MOMENT: Final = re.compile(r"\d{4}-[01]\d-[0-3]\d[T ][0-2]\d:[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?")
_ZONE: Final = re.compile(r"[A-Za-z0-9+_/-]{1,64}")


class Looks:
    """Renders; reads the templates and files once."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, auto_reload=False,
        )  # fmt: skip
        self._templates.filters |= {
            "ago": _ago, "moment": _moment, "num": _num, "value": value, "many": many, "duration": duration,
            "path": path_to, "plain": plain_text, "sentence": _sentence, "quoted": lambda text: quote(text, safe=""),
        }  # fmt: skip
        self._templates.globals |= {"static": _static_url, "counts": self._counts}

    def render(
        self, name: str, values: Mapping[str, Any], visitor: Visitor, cookies: Mapping[str, str], path: str
    ) -> str:
        """The page that the template *name* makes of *values*."""
        theme, zone = cookies.get("theme", ""), unquote(cookies.get("tz", ""))
        return self._templates.get_template(name).render(
            {
                "visitor": visitor, "csrf": visitor.csrf, "here": f"/{path.split('/')[1]}", "zone_name": zone,
                "theme": theme if theme in THEMES else "", "zone": zone_of(zone), "now": self._inside.now(), **values,
            }
        )  # fmt: skip

    def rows(self, lines: Sequence[Line], zone: str, came: int) -> str:
        """Rows of the table of webhooks, for who watches in that time zone; *came*: with those that are not shown."""
        return self._templates.get_template("live_rows.html").render(
            lines=lines, zone=zone_of(zone), now=self._inside.now(), fresh=came <= _TINTED, came=came
        )

    def _counts(self) -> dict[str, tuple[int, str]]:
        """What stands beside the views' names: how many, of what."""
        letters = sum(self._inside.letters.counts().values())
        stored = self._inside.store.mappings().values()
        waiting = sum(bool(each.mistake or each.held or each.first or each.undo) for each in stored)
        found = {"problems": (letters, "problems"), "mappings": (waiting, "wait for you")}
        return {kind: counted for kind, counted in found.items() if counted[0]}


@cache
def static_files() -> dict[str, tuple[Path, str]]:
    """The files that browsers keep, by name: where it is, the beginning of its hash."""
    found = (path for path in (_FOLDER / "static").iterdir() if path.suffix in (".css", ".js", ".svg"))
    return {path.name: (path, hashlib.sha256(path.read_bytes()).hexdigest()[:12]) for path in found}


def _static_url(name: str) -> str:
    return f"/static/{name}?v={static_files()[name][1]}"


def path_to(record_id: str) -> str:
    """The path of one affiliate's page."""
    return f"/affiliates/{quote(record_id, safe=':@')}"


# ---------------------------------------------------------------- times, numbers, values


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """The time zone that a browser says it has; the server's where it says none that there is."""
    if _ZONE.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass
    return datetime.now().astimezone().tzinfo or UTC


@pass_context
def _ago(context: Context, at: datetime | None) -> str:
    """``2 min ago`` up to a day, then ``27 Nov``, with the whole moment behind it."""
    if at is None:
        return Markup('<span class="muted">never</span>')
    local = at.astimezone(context["zone"])
    seconds = (context["now"] - at).total_seconds()
    return _time(local, f"{duration(seconds)} ago" if seconds < 86_400 else f"{local.day} {local:%b}")


@pass_context
def _moment(context: Context, at: datetime) -> str:
    """``09:14:02`` today, ``27 Nov, 09:14:02`` on another day."""
    local = at.astimezone(context["zone"])
    today = local.date() == context["now"].astimezone(context["zone"]).date()
    return _time(local, f"{local:%H:%M:%S}" if today else f"{local.day} {local:%b}, {local:%H:%M:%S}")


def _time(local: datetime, text: str) -> Markup:
    iso = local.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    whole = f"{local.day} {local:%B %Y, %H:%M:%S}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, whole, text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _num(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def plain_text(found: object, longest: int = _LONGEST_VALUE) -> str:
    """A cell or a record's value in words; cut where it is very long."""
    if isinstance(found, dict) and len(found) == 1:  # a dumped cell with its type
        (found,) = found.values()
    if isinstance(found, list | tuple):
        found = ", ".join(map(str, found))
    if isinstance(found, bool):
        found = "yes" if found else "no"
    text = "" if found is None else str(found)
    if _MOMENT.fullmatch(text):
        with suppress(ValueError, OverflowError):
            at = datetime.fromisoformat(text.replace("Z", "+00:00"))
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
            text = f"{at.day} {at:%b %Y, %H:%M} UTC"
    return text if len(text) <= longest else f"{text[:longest]}…"


def value(found: object, longest: int = _LONGEST_VALUE) -> Markup:
    """``plain_text``, apart from the direction of the text around it; *empty* where there is none."""
    text = plain_text(found, longest)
    return Markup("<bdi>{}</bdi>").format(text) if text else Markup('<i class="muted">empty</i>')
