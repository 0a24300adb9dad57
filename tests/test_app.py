"""The running program as a whole: hostile senders, readiness, what becomes of threads and sinks at a stop."""

from __future__ import annotations

import http.client
import json
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from connector import config
from connector.app import ClockWatch, Program, clock_is_trusted
from connector.assembly import LiveHost, utc_now
from connector.core.errors import Forged, Stopping, Unreadable
from connector.core.source import Event, InboundRequest
from connector.store import Store
from connector.store.model import Later, Result, StoreInUse
from tests.doubles import World
from tests.far_sides.chat import Chat
from tests.running import PATIENCE_SECONDS, Connector, Nursery, now, tokens, until


@pytest.fixture
def hurried(tmp_path: Path, nursery: Nursery) -> Iterator[Connector]:
    """A server whose patience is half a second."""
    connector = Connector(tmp_path, nursery, server="request_timeout_seconds = 0.5\nkeep_alive_seconds = 1").start()
    yield connector
    connector.kill()


def _event(number: int) -> bytes:
    event = {"id": number, "type": "promoter_signed_up", "created_at": "2025-01-01T10:00:00Z"}
    promoter = {"id": number, "email": f"p{number}@example.com", "status": "active"}
    return json.dumps({"event": event, "data": {"promoter": promoter}}).encode()


def _until_closed(sender: socket.socket, seconds: float = PATIENCE_SECONDS) -> bytes:
    """All that comes until the server closes the connection."""
    sender.settimeout(seconds)
    said = b""
    while True:
        try:
            part = sender.recv(65_536)
        except ConnectionResetError:
            return said
        if not part:
            return said
        said += part


# ---------------------------------------------------------------- hostile senders

head = (
    f"POST /hooks/firstpromoter?token={tokens['firstpromoter']} HTTP/1.1\r\nhost: x\r\n"
    "content-type: application/json\r\ncontent-length: 100\r\n"
).encode()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b"HTTP/1.1 408 "),
        (b"POST /hooks/first", b"HTTP/1.1 408 "),
        (head, b"HTTP/1.1 408 "),
        (head + b"\r\n{", b"HTTP/1.1 408 "),
        (b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{", b"HTTP/1.1 404 "),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", b"HTTP/1.1 200 "),
    ],
    ids=["nothing", "half a line", "half a head", "half a body", "half a body for nobody", "nothing more"],
)
def test_a_connection_on_which_nothing_more_comes_is_closed(hurried: Connector, sent: bytes, answer: bytes) -> None:
    assert hurried.port is not None
    with socket.create_connection(("127.0.0.1", hurried.port)) as sender:
        sender.sendall(sent)
        assert _until_closed(sender).startswith(answer)


def test_too_few_open_files_are_named_before_anything_starts(tmp_path: Path, nursery: Nursery) -> None:
    connector = Connector(tmp_path, nursery)
    program = (
        "import resource, sys\nfrom connector.cli.main import run\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\nsys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "serve", "--config", str(connector.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("this process may open 20 files, and needs 64 at least")


def test_a_byte_now_and_then_does_not_keep_a_connection(hurried: Connector) -> None:
    assert hurried.port is not None
    with socket.create_connection(("127.0.0.1", hurried.port)) as sender:
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 - which of the sends fails depends on the machine
            for byte in head * 10:
                sender.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - began < PATIENCE_SECONDS / 2


def test_a_head_without_end_is_cut_off(hurried: Connector) -> None:
    assert hurried.port is not None
    address = ("127.0.0.1", hurried.port)
    with socket.create_connection(address) as sender, pytest.raises(OSError):  # noqa: PT012 - any of the sends fails
        sender.sendall(b"POST / HTTP/1.1\r\nx: ")
        for _ in range(100_000):
            sender.sendall(b"y" * 65_536)


def test_hundreds_of_idle_connections_and_wrong_tokens_leave_honest_events_unharmed(
    tmp_path: Path, nursery: Nursery
) -> None:
    connector = Connector(tmp_path, nursery).start()
    assert connector.port is not None
    idle = [socket.create_connection(("127.0.0.1", connector.port)) for _ in range(400)]
    stop = threading.Event()
    wrong: list[int] = []

    def knock() -> None:
        assert connector.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", connector.port, timeout=PATIENCE_SECONDS)
        while not stop.is_set():
            connection.request("POST", "/hooks/firstpromoter?token=no", b"{}")
            answer = connection.getresponse()
            answer.read()
            wrong.append(answer.status)
        connection.close()

    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        for number in range(1, 51):
            assert connector.post("firstpromoter", _event(number))[0] == 202
    finally:
        stop.set()
        knocking.join()
        for connection in idle:
            connection.close()
    assert set(wrong) == {401}
    connector.wait_for({f"firstpromoter:{number}": {"Status": "Active"} for number in range(1, 51)})
    connector.kill()


# ---------------------------------------------------------------- readiness


def _readiness(connector: Connector) -> tuple[int, list[str]]:
    assert connector.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", connector.port, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said.get("reasons", [])


def _wait_until_ready_says(connector: Connector, status: int, reasons: list[str]) -> None:
    connector.wait_until(lambda: _readiness(connector), lambda said: said == (status, reasons))


def _wait_until_the_log_says_once(connector: Connector, event: str) -> None:
    connector.wait_until(lambda: [line["event"] for line in connector.lines()], lambda seen: seen.count(event) == 1)


def test_a_route_that_needs_a_person_turns_readiness_red_by_name_and_back(tmp_path: Path, nursery: Nursery) -> None:
    connector = Connector(tmp_path, nursery).start()
    _wait_until_ready_says(connector, 200, [])
    connector.send("firstpromoter", json.loads(_event(1)))
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})
    connector.table.unlink()
    connector.table.mkdir()  # a folder in the table's place: a person must act
    connector.send("firstpromoter", json.loads(_event(2)))  # still received
    _wait_until_ready_says(connector, 503, ["route:local/local_csv"])
    connector.table.rmdir()
    # The pause ends by itself; a person in a hurry says resync.
    store = Store(f"sqlite:///{tmp_path}/data/connector.db", worker=False, now=now)
    store.resync("local/local_csv")
    store.close()
    connector.wait_for({f"firstpromoter:{number}": {"Status": "Active"} for number in (1, 2)})
    _wait_until_ready_says(connector, 200, [])
    connector.kill()


def test_events_that_can_not_be_read_on_turn_readiness_red_are_reported_and_back(
    tmp_path: Path, nursery: Nursery
) -> None:
    with Chat() as chat:
        connector = Connector(tmp_path, nursery, server=f'[alerts]\nurl = "{chat.url}"').start()
        letters = tmp_path / "data" / "dead-letters.jsonl"
        letters.mkdir()  # a folder in the file's place: what can't be read can't be put on file, so nothing is done
        connector.send("firstpromoter", {"event": {"id": 1, "type": "promoter_signed_up"}, "data": {"promoter": {}}})
        connector.send("firstpromoter", json.loads(_event(2)))
        _wait_until_ready_says(connector, 503, ["projector"])
        connector.wait_until(lambda: chat.told("can't be read on: 2 events wait"))
        assert connector.rows() == {}
        letters.rmdir()
        connector.wait_for({"firstpromoter:2": {"Status": "Active"}})
        _wait_until_ready_says(connector, 200, [])
        connector.wait_until(lambda: chat.told("Webhooks are read on again"))
        assert not chat.told("The store")
        connector.kill()


# ---------------------------------------------------------------- the program, without its receiver


def _program(folder: Path, nursery: Nursery) -> Program:
    connector = Connector(folder, nursery)
    return Program(config.load(connector.config, {}))


def test_a_nap_of_a_sink_ends_when_the_program_stops() -> None:
    stop = threading.Event()
    host = LiveHost("local", None, stop)
    host.wait(0.0)
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopping):
        host.wait(PATIENCE_SECONDS)
    assert time.monotonic() - began < PATIENCE_SECONDS / 2


def test_a_sinks_notes_outlive_the_program(tmp_path: Path, nursery: Nursery) -> None:
    program = _program(tmp_path, nursery)
    host = LiveHost("local", program.store, program.stop)
    host.remember("tab", "7")
    program.close()
    again = _program(tmp_path, nursery)
    host = LiveHost("local", again.store, again.stop)
    assert (host.recall("tab"), host.recall("other")) == ("7", None)
    host.remember("tab", None)
    assert host.recall("tab") is None
    again.close()


def test_a_store_is_worked_on_by_one_program_at_a_time(tmp_path: Path, nursery: Nursery) -> None:
    program = _program(tmp_path, nursery)
    with pytest.raises(StoreInUse, match=f"process {os.getpid()}"):
        _program(tmp_path, nursery)
    program.close()
    _program(tmp_path, nursery).close()


def test_a_thread_that_dies_is_logged_turns_readiness_red_and_is_started_again(
    tmp_path: Path, nursery: Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    program = _program(tmp_path, nursery)
    lives = 0
    lives_again = threading.Event()

    def die_once() -> None:
        nonlocal lives
        lives += 1
        if lives == 1:
            raise LookupError("ada@example.com")
        lives_again.set()

    with caplog.at_level(logging.ERROR, logger="connector"):
        program.threads.start("route local/x", die_once)
        assert lives_again.wait(PATIENCE_SECONDS)
    assert program.reasons() == ("route:local/x",)  # for a minute and a half: it may die again
    (record,) = caplog.records
    assert record.getMessage() == "thread.died"
    assert "ada@example.com" not in repr(vars(record))
    program.close()


def test_a_watch_that_dies_does_not_stop_watching(tmp_path: Path, nursery: Nursery) -> None:
    """What a plug-in or the system raises where nobody expects it: the thread that would report it must not be gone."""
    program = _program(tmp_path, nursery)

    class Raising(ClockWatch):
        raises = True

        def seconds_set_back(self) -> float:
            if self.raises:
                self.raises = False
                raise SystemExit(3)
            return super().seconds_set_back()

    program.upkeep.clock = Raising()
    program.start()
    until(program.reasons, lambda reasons: "watch" in reasons)

    def reasons() -> Sequence[str]:
        program.projector.failures = 3  # its next step succeeds, and sets it to 0
        return program.reasons()

    until(reasons, lambda reasons: "projector" in reasons)  # it looks again
    program.close()


def test_a_start_that_fails_is_tried_again(tmp_path: Path, nursery: Nursery) -> None:
    """An import may find too few files: that must not be the end of projecting and delivering."""

    class Hungry(Program):
        tries = 0

        def _load_libraries(self) -> None:
            self.tries += 1
            if self.tries == 1:
                raise OSError(24, "Too many open files")
            super()._load_libraries()

    program = Hungry(config.load(Connector(tmp_path, nursery).config, {}))
    program.store.append([Event("firstpromoter", "1", "promoter_signed_up", 1, now(), _event(1))])
    program.start()
    until(program.reasons, lambda reasons: "start" in reasons)
    until(lambda: program.store.status().routes[0].rows, lambda rows: rows == 1)
    program.close()


def test_nothing_is_imported_when_the_threads_run(tmp_path: Path, nursery: Nursery) -> None:
    """An import opens files: in a thread, where too few may be open, it would fail late and be a puzzle."""
    connector = Connector(tmp_path, nursery)
    profile = {"phone_number": "+442071838750", "country": "GB", "website": "https://ada.example.com"}
    promoter = {"id": 1, "email": "ada@example.org", "status": "active", "profile": profile}
    body = json.dumps({"event": {"id": 1, "type": "promoter_signed_up"}, "data": {"promoter": promoter}})
    code = f"""
import json, sys, time
from datetime import UTC, datetime
from pathlib import Path
from connector import config, serve
from connector.app import Program
from connector.core.source import Event
program = Program(config.load(Path({str(connector.config)!r}), examples=False))
program.start()
program.threads.started[0].join()  # it starts the others
before = set(sys.modules)
program.store.append([Event("firstpromoter", "1", "promoter_signed_up", 1, datetime.now(UTC), {body.encode()!r})])
ends = time.monotonic() + 60
while not program.store.status().routes[0].rows and time.monotonic() < ends:
    program.projector.bell.set()
    time.sleep(0.05)
program.metrics.render("application/openmetrics-text; version=1.0.0")
print(program.store.status().routes[0].rows, sorted(set(sys.modules) - before))
program.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "1 []"


def test_a_call_that_hangs_does_not_hold_up_the_stop(
    tmp_path: Path, nursery: Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    program = _program(tmp_path, nursery)
    released = threading.Event()

    def hang() -> None:
        released.wait(PATIENCE_SECONDS)

    program.threads.start("route local/x", hang)
    program.stop_within_seconds = 0.3
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="connector"):
        program.close()
    assert time.monotonic() - began < PATIENCE_SECONDS / 2
    assert "stop.hangs" in [record.getMessage() for record in caplog.records]
    released.set()
    program.threads.started[-1].join()
    program.close()


def test_sigterm_ends_a_server_whose_requests_and_readings_hang(tmp_path: Path, nursery: Nursery) -> None:
    """A sender that does not finish its body, and a platform that does not answer a repair: together, not one after
    the other, they may hold up the stop, and docker waits ten seconds."""
    connector = Connector(tmp_path, nursery)
    with socket.create_server(("127.0.0.1", 0)) as platform:
        platform.settimeout(PATIENCE_SECONDS)
        port = platform.getsockname()[1]
        reading = f'api_key = "k3y-of-the-tests"\nbase_url = "http://127.0.0.1:{port}"\nrepair = {{ every = "24h" }}\n'
        text = connector.config.read_text(encoding="utf-8")
        connector.config.write_text(
            text.replace("[sources.everflow]", reading + "[sources.everflow]"), encoding="utf-8"
        )
        connector.start()
        assert connector.port is not None
        asked, _ = platform.accept()
        with asked, socket.create_connection(("127.0.0.1", connector.port)) as sender:
            assert asked.recv(100).startswith(b"GET ")
            head = f"POST /hooks/firstpromoter?token={tokens['firstpromoter']} HTTP/1.1\r\nhost: x\r\n"
            sender.sendall(head.encode() + b"content-type: application/json\r\ncontent-length: 99\r\n\r\n{")
            connector.send("firstpromoter", json.loads(_event(1)))  # by now it waits for the other's body
            assert connector.stop() < 10
    last = {line["event"]: line for line in connector.lines()[-4:]}
    assert last["stop.hangs"]["threads"] == "repair firstpromoter"
    assert last["exit"]["code"] == 0


def test_an_old_event_is_forgotten_and_its_record_stays(tmp_path: Path, nursery: Nursery) -> None:
    connector = Connector(tmp_path, nursery).start()
    connector.send("firstpromoter", json.loads(_event(1)))
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})
    connector.stop()
    program = Program(config.load(connector.config, {}))
    program.upkeep.keep_days = -1  # until tomorrow
    while not program.upkeep.prune():
        pass
    assert program.store.read_events(0, 10) == []
    assert program.store.status().records == 1
    program.close()


def test_a_clock_that_is_set_back_is_noticed_and_what_is_pending_is_due(tmp_path: Path, nursery: Nursery) -> None:
    program = _program(tmp_path, nursery)
    clock = {"now": 1e9, "steady": 0.0}
    program.upkeep.clock = ClockWatch(lambda: clock["now"], lambda: clock["steady"])
    program.store.append([Event("firstpromoter", "1", "promoter_signed_up", 1, now(), _event(1))])
    program.projector.step()
    route = program.workers[0].route.name
    (pending,) = program.store.take(route, 1, lease=timedelta(0))
    later = Later(now() + timedelta(hours=3))
    program.store.finish(route, [Result(pending.record_id, pending.version, pending.token, later=later)])
    for moment, steady, is_due in ((1e9 + 5, 5.0, False), (1e9 + 900, 10.0, False), (1e9 - 3_000, 15.0, True)):
        clock.update(now=moment, steady=steady)
        program.upkeep.mind_the_clock()
        due = program.store.next_due(route)
        assert due is not None
        assert (due <= now()) is is_due
    program.close()


def test_a_clock_that_is_ahead_for_a_moment_makes_nothing_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path)
    right = world.clock()
    years = timedelta(days=3650)
    hour, day = timedelta(hours=1), timedelta(days=1)
    looks = [
        (right, True), (right + hour, True),
        (right + years, False), (right + years + 23 * hour, False),  # an hour's mistake, or a day's
        (right + 25 * hour, True),
        (right + years, False), (right + 2 * day, True),
        (right + years, False), (right + years + day, True), (right + years + day + hour, True),  # it stays so
        (right + 3 * day, True), (right + years, False),
    ]  # fmt: skip
    assert [clock_is_trusted(world.store, moment) for moment, _ in looks] == [believed for _, believed in looks]
    world.close()


def test_the_program_forgets_nothing_by_a_clock_that_was_put_ahead(tmp_path: Path, nursery: Nursery) -> None:
    program = _program(tmp_path, nursery)
    old = now() - timedelta(days=365)
    program.store.append([Event("firstpromoter", "1", "promoter_signed_up", 1, old, _event(1))])
    program.projector.step()
    assert clock_is_trusted(program.store, now() - timedelta(days=2))
    assert program.upkeep.prune() == 3600.0
    assert len(program.store.read_events(0, 10)) == 1
    assert all(clock_is_trusted(program.store, now() - timedelta(hours=hours)) for hours in (25, 2))  # put right
    while not program.upkeep.prune():
        pass
    assert program.store.read_events(0, 10) == []
    program.close()


def test_readiness_is_looked_at_between_while_very_many_events_are_forgotten(tmp_path: Path, nursery: Nursery) -> None:
    program = _program(tmp_path, nursery)
    program.upkeep.prune_seconds = 0.0
    program.store.append(
        [Event("firstpromoter", f"{n}", "promoter_signed_up", 1, now(), _event(n)) for n in range(2_000)]
    )
    while program.projector.step():
        pass
    program.upkeep.keep_days = -1  # until tomorrow
    assert program.upkeep.prune() == 0.0
    assert program.store.read_events(0, 1)
    while not program.upkeep.prune():
        pass
    assert program.store.read_events(0, 1) == []
    program.close()


@pytest.mark.parametrize("asked_at_once", [True, False], ids=["at once", "later"])
def test_a_data_folder_that_is_taken_away_is_a_503_until_it_is_back(
    tmp_path: Path, nursery: Nursery, asked_at_once: bool
) -> None:
    connector = Connector(tmp_path, nursery).start()
    connector.send("firstpromoter", json.loads(_event(1)))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    if asked_at_once:
        assert connector.post("firstpromoter", _event(2))[0] == 503
    _wait_until_ready_says(connector, 503, ["store"])
    told = [line["reason"] for line in connector.lines() if line["event"] == "store.fails"]
    assert len(told) == 1, "by the request or by readiness, should both meet it at once"
    assert "was moved, deleted or replaced" in told[0]
    assert connector.post("firstpromoter", _event(2))[0] == 503
    assert not list(tmp_path.glob("data/*.db"))
    (tmp_path / "data").mkdir(exist_ok=True)
    for file in (tmp_path / "elsewhere").iterdir():
        file.replace(tmp_path / "data" / file.name)
    _wait_until_ready_says(connector, 200, [])
    _wait_until_the_log_says_once(connector, "store.ok")
    connector.send("firstpromoter", json.loads(_event(3)))
    connector.wait_for({f"firstpromoter:{number}": {"Status": "Active"} for number in (1, 3)})
    connector.kill()


def test_a_full_disk_is_a_503_until_there_is_room_again(tmp_path: Path, nursery: Nursery) -> None:
    """A size limit on files stands for the full disk: ``RLIMIT_FSIZE``, set from outside."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("this system has no prlimit")
    connector = Connector(tmp_path, nursery).start()
    assert connector.pid is not None
    connector.send("firstpromoter", json.loads(_event(1)))
    largest = (tmp_path / "data" / "connector.db-wal").stat().st_size
    resource.prlimit(connector.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    answers = [connector.post("firstpromoter", _event(number))[0] for number in range(2, 6)]
    assert 503 in answers
    assert set(answers) <= {202, 503}
    _wait_until_ready_says(connector, 503, ["store"])
    for number in (6, 7):  # while webhooks are refused, readiness says so; a small write would find room
        assert connector.post("firstpromoter", _event(number))[0] == 503
        time.sleep(2.5)
        status, reasons = _readiness(connector)
        assert (status, "store" in reasons) == (503, True)
    told = [line["reason"] for line in connector.lines() if line["event"] == "store.fails"]
    assert told
    assert all("connector.db" in reason for reason in told), told
    resource.prlimit(connector.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert connector.post("firstpromoter", _event(9))[0] == 202
    _wait_until_ready_says(connector, 200, [])
    _wait_until_the_log_says_once(connector, "store.ok")
    kept = [1, 9, *(number for number, status in zip(range(2, 6), answers, strict=True) if status == 202)]
    connector.wait_for({f"firstpromoter:{number}": {"Status": "Active"} for number in kept})
    connector.kill()


def test_a_body_that_a_bug_could_not_open_becomes_a_letter_without_its_secrets(
    tmp_path: Path, nursery: Nursery
) -> None:
    program = _program(tmp_path, nursery)
    body = b'{"event": {"id": 1}, "data": {"promoter": {"auth_token": "CANARY", "email": "ada@example.com"}}}'
    query = f"token={tokens['firstpromoter']}".encode()
    key = program.keep_unread("firstpromoter", InboundRequest([], query, body, now()), ZeroDivisionError("x"))
    (letter,) = program.letters.list()
    assert (letter.stage, letter.place, letter.subject, letter.code) == ("normalize", "firstpromoter", key, "bug")
    assert "ZeroDivisionError" in letter.reason
    assert json.loads(letter.content["body"])["data"] == {"promoter": {"email": "ada@example.com"}}
    with pytest.raises(Forged):
        program.keep_unread("firstpromoter", InboundRequest([], b"token=no", body, now()), ZeroDivisionError("x"))
    with pytest.raises(Unreadable):  # its secrets can't be found
        program.keep_unread("firstpromoter", InboundRequest([], query, b"{", now()), ZeroDivisionError("x"))
    program.close()


def test_a_body_that_a_bug_could_not_open_is_opened_by_a_replay_after_the_bug_is_fixed(
    tmp_path: Path, nursery: Nursery
) -> None:
    program = _program(tmp_path, nursery)
    query = f"token={tokens['firstpromoter']}".encode()
    program.keep_unread("firstpromoter", InboundRequest([], query, _event(1), now()), ZeroDivisionError("x"))
    program.close()
    connector = Connector(tmp_path, nursery)
    assert "1 put back" in connector.command("dead-letters", "replay", "--all").stdout
    connector.command("drain")
    assert connector.rows()["firstpromoter:1"]["Status"] == "Active"
    assert "no dead letters" in connector.command("dead-letters", "list").stdout


def test_the_clock_is_aware() -> None:
    assert utc_now().tzinfo is not None
