"""The lines of the log: one for each thing, readable by people on a terminal and by machines elsewhere."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector import logs
from connector.cli.short_lines import ShortLines


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """A stream that logs are set up to; the root logger is given back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("connector").setLevel(logging.NOTSET)
    logging.captureWarnings(False)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_elsewhere_than_on_a_terminal_a_line_is_json(out: io.StringIO) -> None:
    logs.set_up(out)
    logs.say(logs.get("room"), "batch.delivered", route="local/x", rows=98, seconds=1.5, reason=None, path=Path("/a"))
    (line,) = lines(out)
    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "info", "event": "batch.delivered", "route": "local/x", "rows": 98, "seconds": 1.5, "path": "/a",
    }  # fmt: skip


def test_on_a_terminal_a_line_is_text(out: io.StringIO) -> None:
    logs.set_up(out, as_json=False)
    logs.say(logs.get("room"), "batch.delivered", route="local/x", reason="has blanks", seconds=1.5)
    logs.warn(logs.get("room"), "route.paused", route="")
    first, second = out.getvalue().splitlines()
    assert first[8:] == ' batch.delivered route=local/x reason="has blanks" seconds=1.5'
    assert second[8:] == ' warning: route.paused route=""'


def test_a_strangers_text_stays_on_its_line(out: io.StringIO) -> None:
    for as_json in (True, False):
        logs.set_up(out, as_json=as_json)
        logs.say(logs.get("room"), "event\nforged", topic="x\nserver.stopped\r\u2028", name="\udc80")
    assert out.getvalue().count("\n") == 2


def test_a_field_can_not_pose_as_the_event(out: io.StringIO) -> None:
    logs.set_up(out)
    fields: dict[str, Any] = {"at": "never", "event": "forged"}
    logs.say(logs.get("room"), "real", **fields)
    (line,) = lines(out)
    assert (line["event"], line["at"] == "never") == ("real", False)


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_are_blotted_out_wherever_they_stand(out: io.StringIO, as_json: bool) -> None:
    logs.set_up(out, as_json=as_json, hidden=["s3cr3t-t0ken", "s3cr3t-t0ken-and-more", "abc"])
    logs.say(logs.get("room"), "x", url="http://h/?token=s3cr3t-t0ken-and-more", word="abc")
    logging.getLogger("a.library").error("refused: %s", "s3cr3t-t0ken")
    try:
        int("s3cr3t-t0ken")
    except ValueError:
        logs.warn(logs.get("room"), "y", exc_info=True)
    assert "s3cr3t" not in out.getvalue()
    assert "abc" in out.getvalue()  # too short to be a secret
    assert "ValueError" in out.getvalue()


def test_libraries_are_heard_only_when_something_went_wrong(out: io.StringIO) -> None:
    logs.set_up(out, verbose=True)
    logging.getLogger("urllib3").info("GET https://api.example.com/?key=1")
    logging.getLogger("urllib3").warning("retrying")
    logs.say(logs.get("room"), "detail", level=logging.DEBUG)
    assert [line["event"] for line in lines(out)] == ["retrying", "detail"]


def test_lines_are_written_in_order_and_at_once(out: io.StringIO) -> None:
    logs.set_up(out)
    for number in range(500):
        logs.say(logs.get("room"), "one", number=number)
        assert out.getvalue().count("\n") == number + 1
    logs.warn(logs.get("room"), "last")
    assert [line.get("number") for line in lines(out)] == [*range(500), None]


def test_a_person_at_a_terminal_reads_short_lines(out: io.StringIO) -> None:
    places = ["firstpromoter", "local/local_csv"]
    logs.set_up(out, as_json=False, short=lambda: ShortLines(["s3cr3t-t0ken"], places))
    log = logs.get("room")
    logs.say(log, "server.started", url="http://127.0.0.1:8080", sources="", routes="")
    logs.say(log, "request.accepted", source="firstpromoter", topic="promoter_signed_up", key="k", bytes=9)
    logs.say(log, "request.refused", status=401, reason="credential", source="firstpromoter")
    logs.say(log, "batch.delivered", route="local/local_csv", rows=1, refused=2, calls=1, seconds=0.1)
    logs.say(log, "batch.delivered", route="local/local_csv", rows=0, calls=1, seconds=0.1)
    logs.warn(log, "route.paused", route="local/local_csv", why="needs_action", seconds=30.0, failures=1)
    logs.say(log, "an.event", nobody="needs it")
    logs.warn(log, "a.surprise", reason="with s3cr3t-t0ken")
    logs.say(log, "server.stopping", signal="SIGINT")
    begun, hint, *happened, stopping = out.getvalue().splitlines()
    assert begun == "Receiving on http://127.0.0.1:8080. Ctrl-C stops it; nothing is lost."
    assert hint == "Next: in a second terminal, in this folder: connector sample"
    assert stopping == "Stopping. What is pending is written after the next start."
    assert [line[8:] for line in happened] == [
        "  received   firstpromoter    1 event  Signed up",
        "  refused    firstpromoter    401: its token or signature is wrong: connector urls",
        "  written    local/local_csv  1 row, 2 refused: connector dead-letters list",
        "  waits      local/local_csv  tries again in 30 s; why: connector status",
        ' warning: a.surprise reason="with •••"',
    ]


def test_a_reload_does_not_say_again_where_the_server_is(out: io.StringIO) -> None:
    logs.set_up(out, as_json=False, short=lambda: ShortLines([], [], starts=False))
    logs.say(logs.get("room"), "server.started", url="http://127.0.0.1:8080")
    assert out.getvalue() == ""


def test_who_wants_more_lines_gets_the_log(out: io.StringIO) -> None:
    logs.set_up(out, as_json=False, verbose=True, short=lambda: ShortLines([], []))
    logs.say(logs.get("room"), "detail", level=logging.DEBUG)
    assert out.getvalue().endswith(" detail\n")


@pytest.mark.parametrize("as_json", [True, False])
def test_what_happens_several_times_at_once_has_a_line_each(out: io.StringIO, *, as_json: bool) -> None:
    logs.set_up(out, as_json=as_json)
    logs.say_each(logs.get("test"), "request.accepted", [{"key": "a", "topic": None}, {"key": "b", "topic": "t"}])
    one, other = out.getvalue().splitlines()
    assert "topic" not in one
    for line, key in ((one, "a"), (other, "b")):
        assert "request.accepted" in line
        assert key in (json.loads(line)["key"] if as_json else line)
