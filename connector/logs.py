"""One line per thing that happened: an event name and fields. Knows nothing of what the fields mean.

On a terminal a line is text, elsewhere it is one JSON object. Callers give counts, names and keys; never payloads,
e-mail addresses or tokens (style.md).
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TextIO

import msgspec

from connector.core.quoting import SHORTEST_SECRET

_ROOT: Final = "connector"
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


def get(name: str) -> logging.Logger:
    """The logger of one room (``get("receiver")``)."""
    return logging.getLogger(f"{_ROOT}.{name}")


def say(logger: logging.Logger, event: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Log that *event* has happened (``batch.delivered``), with *fields* (``route=…, rows=98``).

    A field that is None is left out. ``exc_info=True`` adds the traceback of the error being handled.
    """
    if logger.isEnabledFor(level):
        exc_info = sys.exc_info() if fields.pop("exc_info", False) else None
        _handle(logger, level, event, [fields], exc_info)


def say_each(logger: logging.Logger, event: str, each: Sequence[Mapping[str, object]]) -> None:
    """``say`` for what has happened several times at once: a line each, written together."""
    if logger.isEnabledFor(logging.INFO):
        _handle(logger, logging.INFO, event, each)


def _handle(
    logger: logging.Logger, level: int, event: str, each: Sequence[Mapping[str, object]], exc_info: Any = None
) -> None:
    # No line shows which file and line of ours it is from, and looking for them costs more than the line.
    extra = {"fields": each[0], "each": each}
    logger.handle(logger.makeRecord(logger.name, level, "", 0, event, (), exc_info, extra=extra))


def warn(logger: logging.Logger, event: str, /, **fields: object) -> None:
    """``say`` for what a person may have to look at."""
    say(logger, event, level=logging.WARNING, **fields)


def set_up(
    stream: TextIO | None = None,
    *,
    verbose: bool = False,
    as_json: bool | None = None,
    hidden: Sequence[str] = (),
    short: Callable[[], PlainText] | None = None,
) -> None:
    """Send every log line to *stream* (stderr when None).

    Args:
        verbose: debug lines too.
        as_json: JSON lines or text; None: text on a terminal, JSON elsewhere.
        hidden: secrets that are hidden wherever they occur. Nothing logs them on purpose; a library's error may.
        short: makes the lines for a person who watches a terminal; used there, but not with *verbose*.
    """
    stream = sys.stderr if stream is None else stream
    if as_json is None:
        as_json = not stream.isatty()
    handler = logging.StreamHandler(stream)
    if as_json:
        handler.setFormatter(JsonLines(hidden))
    else:
        lines = PlainText(hidden) if short is None or verbose else short()
        handler.setFormatter(lines)
        handler.addFilter(lines.shows)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # of libraries: only what went wrong
    logging.getLogger(_ROOT).setLevel(logging.DEBUG if verbose else logging.INFO)
    # Client libraries put whole requests (addresses, people's data) into their debug lines: never below warning.
    logging.captureWarnings(True)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line shows them


class _Lines(logging.Formatter):
    """What both forms of a line have in common.

    Args:
        hidden: texts that are replaced by dots.
    """

    def __init__(self, hidden: Sequence[str] = ()) -> None:
        super().__init__()
        self._hidden = sorted((secret for secret in hidden if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The line of *record*; a library's record has no fields."""
        each: Sequence[Mapping[str, Any]] = getattr(record, "each", ({},))
        text = "\n".join([self._line(record, _given(fields)) for fields in each])
        for secret in self._hidden:
            text = text.replace(secret, "•••")
        return text

    def _line(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> str:
        raise NotImplementedError


def _given(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in fields.items() if value is not None} if None in fields.values() else fields


class JsonLines(_Lines):
    """One JSON object a line: ``at`` (UTC), ``level``, ``event``, then the fields."""

    def _line(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> str:
        at = f"{_second(int(record.created))}.{int(record.msecs):03d}Z"
        line = {"at": at, "level": record.levelname.lower(), "event": record.getMessage()}
        line = {**line, **fields, **line}  # the names of ours are taken, and come first
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return _encode(line).decode()
        except UnicodeEncodeError:  # a file name that is not Unicode, for example
            return json.dumps(line, default=str, separators=(",", ":"))


@lru_cache(1)
def _second(created: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))


class PlainText(_Lines):
    """``12:30:01 batch.delivered route=local/affiliates rows=98``; the level only when it is not info."""

    def shows(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - for those that leave lines out
        """Whether there is a line for *record*."""
        return True

    def _line(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> str:
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        event = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")  # one line, whatever a stranger sends
        line = " ".join([f"{when} {level}{event}", *(f"{name}={_word(value)}" for name, value in fields.items())])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c <= " " or c in '"=' for c in text) else text
