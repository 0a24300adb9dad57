"""The short lines that `connector serve` prints to a terminal: what happened and where, in words. Else it logs."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from connector.core.event_words import in_words
from connector.logs import PlainText
from connector.phrases import duration, many

_REFUSED = {
    "credential": "its token or signature is wrong: connector urls",
    "too_large": "it is too large",
    "too_slow": "it took too long to arrive",
    "unknown_source": "no source has that name: connector urls",
    "unknown_path": "there is nothing at that address: connector urls",
    "unreadable": "it is not what the platform sends",
    "store": "the store can't write; the platform should send it again",
    "bug": "it met a bug; the platform should send it again",
}
_QUIET = frozenset(
    {"server.stopped", "records.isolate", "row.notice", "held.waits", "held.released", "request.no_event", "undo.done"}
)
"""Events that ``status``, or another line, says better."""


class ShortLines(PlainText):
    """``09:14:02  written    local/affiliates  1 row``. What nobody foresaw is the log line that it is elsewhere.

    Args:
        places: the names of sources and routes, which share a column.
        starts: False after a reload, which says itself that it is done.
    """

    def __init__(self, hidden: Sequence[str], places: Sequence[str], *, starts: bool = True) -> None:
        super().__init__(hidden)
        self._wide = max((len(place) for place in places), default=0)
        self._starts = starts

    def shows(self, record: logging.LogRecord) -> bool:
        """Warnings, and what has a line here."""
        event = record.getMessage()
        if event == "server.started":
            return self._starts
        return event not in _QUIET and (record.levelno >= logging.WARNING or self._words(event, _fields(record)) != ())

    def _line(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> str:
        match self._words(record.getMessage(), fields):
            case (text,):
                return text
            case (verb, place, text):
                when = time.strftime("%H:%M:%S", time.localtime(record.created))
                return f"{when}  {verb:<9}  {place:<{self._wide}}  {text}".rstrip()
        return super()._line(record, fields)

    @staticmethod
    def _words(event: str, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """A line of its own, or a verb, the source or route, and the rest; () where there are no words for it."""
        place = str(fields.get("route") or fields.get("source") or "")
        match event:
            case "server.started":
                url = fields["url"]
                return (
                    f"Receiving on {url}. Ctrl-C stops it; nothing is lost.\n"
                    "Next: in a second terminal, in this folder: connector sample",
                )
            case "server.waits":
                return (f"Listening on {fields['url']}. Webhooks are answered 503 until the database is there.",)
            case "server.stopping":
                return ("Stopping. What is pending is written after the next start.",)
            case "request.accepted":
                return ("received", place, f"1 event  {in_words(fields['topic'])}")
            case "request.refused":
                why = fields.get("why") or _REFUSED.get(fields["reason"], fields["reason"])
                return ("refused", place or "a webhook", f"{fields['status']}: {why}")
            case "batch.delivered" if fields["rows"] or fields.get("refused"):
                refused = fields.get("refused") or 0
                more = f", {refused:,} refused: connector dead-letters list" if refused else ""
                return ("written", place, f"{many(fields['rows'], 'row')}{more}")
            case "route.paused":
                return ("waits", place, f"tries again in {duration(fields['seconds'])}; why: connector status")
            case "route.ok":
                return ("continues", place, "")
            case "mapping.changed":
                return ("edited", place, f"{many(fields['pending'], 'affiliate')} pending")
            case "mapping.mistake":
                file, line, *_ = fields["place"].split(":")
                return ("mistake", place, f"{file}, line {line}: connector check")
            case "mapping.ok":
                return ("correct", place, "its mapping has no mistake any more")
            case "mapping.held":
                return ("waits", place, f"for you: connector plan {place}")
            case "reload.taken":
                return ("read", "config.toml", "")
            case "reload.refused":
                return ("mistake", "config.toml", "the old one continues: connector check")
        return ()


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields
