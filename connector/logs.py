"""One line per thing that happened: an event name and fields. Knows nothing of what the fields mean.

On a terminal a line is text, elsewhere it is one JSON object. Callers give counts, names and keys; never payloads,
e-mail addresses or tokens (style.md).
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import lru_cache
from typing import Any, Final, TextIO

import msgspec

_root = "connector"


def get(name: str) -> logging.Logger:
    """The logger of one room (``get("receiver")``)."""
    return logging.getLogger(f"{_root}.{name}")


def say(logger: logging.Logger, event: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Log that *event* has happened (``batch.delivered``), with *fields* (``route=…, rows=98``).

    A field that is None is left out. ``exc_info=True`` adds the traceback of the error being handled.
    """
    if not logger.isEnabledFor(level):
        return
    exc_info = sys.exc_info() if fields.pop("exc_info", None) else None
    logger.handle(_Record(logger.name, level, event, (fields,), exc_info))


def say_each(logger: logging.Logger, event: str, each: Sequence[Mapping[str, object]]) -> None:
    """``say`` once for the fields of each thing: in the thread that answers a line alone costs four times as much."""
    if logger.isEnabledFor(logging.INFO):
        logger.handle(_Record(logger.name, logging.INFO, event, each, None))


def warn(logger: logging.Logger, event: str, /, **fields: object) -> None:
    """``say`` for what a person may have to look at."""
    say(logger, event, level=logging.WARNING, **fields)


def set_up(
    stream: TextIO | None = None, *, verbose: bool = False, as_json: bool | None = None, hidden: Sequence[str] = ()
) -> None:
    """Send every log line to *stream* (stderr when None).

    Args:
        verbose: debug lines too.
        as_json: JSON lines or text; None: text on a terminal, JSON elsewhere.
        hidden: secrets that are blotted out wherever they stand. Nothing logs them on purpose; a library's error may.
    """
    stream = sys.stderr if stream is None else stream
    if as_json is None:
        as_json = not stream.isatty()
    handler = Lines(stream)
    handler.setFormatter(JsonLines(hidden) if as_json else PlainText(hidden))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # of libraries: only what went wrong
    logging.getLogger(_root).setLevel(logging.DEBUG if verbose else logging.INFO)
    # Client libraries put whole requests (addresses, people's data) into their debug lines: never below warning.
    logging.captureWarnings(True)
    # Nobody reads these attributes of a record: finding them out costs a third of a line.
    logging.logThreads = False
    logging.logProcesses = False
    logging.logMultiprocessing = False


def flush() -> None:
    """Write what waits: before the process ends in a way that runs no exit handlers."""
    for handler in logging.getLogger().handlers:
        handler.flush()


_blank: Final[dict[str, Any]] = vars(logging.LogRecord("", 0, "", 0, "", None, None))


class _Record(logging.LogRecord):
    """A record made without looking for the caller's file and line, the thread and the process, which no line shows:
    a line a request is written in the thread that answers, and those would be half of its cost.

    Args:
        each: the fields of each line.
    """

    def __init__(self, name: str, level: int, event: str, each: Sequence[Mapping[str, object]], exc_info: Any) -> None:
        self.__dict__.update(_blank)
        self.name, self.levelno, self.levelname = name, level, logging.getLevelName(level)
        self.msg, self.exc_info, self.created = event, exc_info, time.time()
        self.each = each


class Lines(logging.Handler):
    """Writes lines to *stream*: at once when little happens, a few hundredths of a second's worth at a time in a burst.

    A line a request costs a system call a request otherwise, in the thread that answers.
    """

    pause_seconds = 0.02

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: list[str] = []
        self._written_at = 0.0
        self._bell = threading.Event()
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Called under the handler's lock."""
        try:
            self._waiting.append(self.format(record))
            if record.levelno >= logging.WARNING or time.monotonic() - self._written_at > self.pause_seconds:
                self._write()
            elif len(self._waiting) == 1:
                if self._writer is None:
                    self._writer = threading.Thread(target=self._write_later, name="logs", daemon=True)
                    self._writer.start()
                self._bell.set()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits."""
        with self.lock or nullcontext():
            if self._waiting:
                self._write()

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()
        self._written_at = time.monotonic()

    def _write_later(self) -> None:
        while True:
            self._bell.wait()
            self._bell.clear()
            time.sleep(self.pause_seconds)
            with suppress(OSError, ValueError):  # a full disk, a closed stream: the next line says so again
                self.flush()


class _Lines(logging.Formatter):
    """What both forms of a line have in common.

    Args:
        hidden: texts that are blotted out.
    """

    def __init__(self, hidden: Sequence[str] = ()) -> None:
        super().__init__()
        # What is too short to be a secret would blot out ordinary words.
        self._hidden = tuple(sorted((secret for secret in hidden if len(secret) >= 6), key=len, reverse=True))

    def format(self, record: logging.LogRecord) -> str:
        text = "\n".join(self._lines(record))
        for secret in self._hidden:
            if secret in text:
                text = text.replace(secret, "•••")
        return text

    def _lines(self, record: logging.LogRecord) -> Iterator[str]:
        raise NotImplementedError


class JsonLines(_Lines):
    """One JSON object a line: ``at`` (UTC), ``level``, ``event``, then the fields."""

    def _lines(self, record: logging.LogRecord) -> Iterator[str]:
        level = record.levelname.lower()
        start = f'{{"at":"{_utc(record.created)}","level":"{level}","event":{_quoted(record.getMessage())}'
        for fields in _each(record):
            said = {name: value for name, value in fields.items() if value is not None and name not in _ours}
            if record.exc_info:
                said["traceback"] = self.formatException(record.exc_info)
            try:
                text = _encode(said).decode()
            except UnicodeEncodeError:  # a file name that is no Unicode, say
                text = json.dumps(said, default=str, separators=(",", ":"))
            yield f"{start},{text[1:]}" if said else start + "}"


class PlainText(_Lines):
    """``12:30:01 batch.delivered route=local/affiliates rows=98``; the level only when it is not info."""

    def _lines(self, record: logging.LogRecord) -> Iterator[str]:
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        for fields in _each(record):
            parts = [f"{when} {level}{_one_line(record.getMessage())}"]
            parts += [f"{name}={_word(value)}" for name, value in fields.items() if value is not None]
            line = " ".join(parts)
            if record.exc_info:
                line += "\n" + self.formatException(record.exc_info)
            yield line


def _each(record: logging.LogRecord) -> Sequence[Mapping[str, Any]]:
    """The fields of each line; a library's record is one line without any."""
    each: Sequence[Mapping[str, Any]] = getattr(record, "each", ({},))
    return each


_encode = msgspec.json.Encoder(enc_hook=str).encode
_ours = frozenset(("at", "level", "event"))


@lru_cache(maxsize=256)
def _quoted(event: str) -> str:
    return json.dumps(event)


def _utc(seconds: float) -> str:
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1000):03d}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _one_line(text: str) -> str:
    # A line of a log is one line whatever a stranger put into a header or a file name.
    return text.replace("\n", "\\n").replace("\r", "\\r") if "\n" in text or "\r" in text else text


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c <= " " or c in '"=' for c in text) else text
