"""The receiver's answers, with a source and a store that are small doubles, over real HTTP where timing matters."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import io
import json
import logging
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from typing import Any, ClassVar

import httpx2
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope

from connector import plugins
from connector.core.errors import Forged, StoreUnavailable, UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.source import Event, InboundRequest, NoEvent, Source, SourceOptions
from connector.receiver import Receiver, application
from connector.serve import uvicorn_config
from tests.running import PATIENCE_SECONDS, until

token = "the-right-word-for-the-double"


class Vouching:
    """A source that accepts any JSON object behind the right token."""

    Options: ClassVar[type[SourceOptions]] = SourceOptions
    topics: ClassVar[Sequence[str]] = ()
    name = "shop"

    def accept(self, request: InboundRequest) -> Event:
        if request.parameter("token") != token:
            raise Forged("no")
        try:
            data = json.loads(request.body)
        except (ValueError, RecursionError):
            raise Unreadable("no JSON") from None
        if not isinstance(data, dict):
            raise Unreadable("no object")
        if "bug" in data:
            raise ZeroDivisionError(f"a bug that quotes {data['bug']}")
        return Event("shop", str(data.get("id", "?")), "made", 0, request.received_at, request.body)

    def normalize(self, event: Event) -> Sequence[AffiliateUpdate]:
        return ()


class Trying(Vouching):
    """A platform that wants 200, and tries a new URL out with an empty post."""

    accepted_status: ClassVar[int] = 200

    def accept(self, request: InboundRequest) -> Event:
        if not request.body:
            raise NoEvent
        return super().accept(request)


class Memory:
    """An intake that keeps events in a list, in a thread of its own as the store does; or refuses as told."""

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.refuse_at_once = False
        self.refuse_later = False
        self.breaks = False
        self.hangs = False
        self.held: list[tuple[Sequence[Event], Sequence[object]]] = []
        self.deliver: Callable[[Any, StoreUnavailable | None], None] = lambda tickets, error: None

    def submit(self, events: Sequence[Event], tickets: Sequence[object]) -> None:
        if self.breaks:
            raise ZeroDivisionError(f"a bug that quotes {events[0].key}")
        if self.refuse_at_once:
            raise StoreUnavailable("too many wait")
        if self.hangs:
            self.held.append((events, tickets))
        else:
            threading.Thread(target=self._commit, args=(events, tickets)).start()

    def go_on(self) -> None:
        self.hangs = False
        for events, tickets in self.held:
            self._commit(events, tickets)

    def _commit(self, events: Sequence[Event], tickets: Sequence[object]) -> None:
        if self.refuse_later:
            self.deliver(tickets, StoreUnavailable("the disk is full"))
            return
        self.kept.extend(events)
        self.deliver(tickets, None)


class Counting(Receiver):
    """Counts the requests whose head has come."""

    begun = 0

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        self.begun += 1
        return await super().answer(scope, receive)


class House:
    """A receiver with its doubles and a client in front."""

    def __init__(
        self, *, body_timeout_seconds: float = 5.0, keeping_seconds: float = 10.0, source: Source | None = None
    ) -> None:
        self.memory = Memory()
        self.reasons: list[str] = []
        self.unread: list[bytes] = []
        self.cannot_keep: Exception | None = None
        self.receiver = Counting(
            {"shop": source or Vouching()},
            self.memory,
            max_body_bytes=2000,
            unread=self._keep_unread,
            keeping_seconds=keeping_seconds,
        )
        self.memory.deliver = self.receiver.deliver
        self.body_timeout_seconds = body_timeout_seconds
        self.app = application(self.receiver, lambda: self.reasons)

    def _keep_unread(self, source: str, request: InboundRequest, error: Exception) -> str:
        assert (source, type(error)) == ("shop", ZeroDivisionError)
        if self.cannot_keep is not None:
            raise self.cannot_keep
        self.unread.append(request.body)
        return "unread:1"


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def client(house: House) -> Iterator[httpx2.Client]:
    with TestClient(house.app) as client:
        yield client


hook = f"/hooks/shop?token={token}"
as_json = {"content-type": "application/json"}


def test_a_genuine_event_is_kept_and_answered_202_with_its_key(house: House, client: httpx2.Client) -> None:
    answer = client.post(hook, content=b'{"id": 7}', headers=as_json)
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted", "event": "7"})
    assert answer.headers["content-type"] == "application/json"
    assert [event.body for event in house.memory.kept] == [b'{"id": 7}']


def test_the_status_of_an_accepted_webhook_is_the_sources_and_a_first_call_keeps_nothing() -> None:
    house = House(source=Trying())
    with TestClient(house.app) as client:
        answer = client.post(hook, content=b'{"id": 7}', headers=as_json)
        assert (answer.status_code, answer.json()) == (200, {"status": "accepted", "event": "7"})
        answer = client.post(hook)
        assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
    assert [event.body for event in house.memory.kept] == [b'{"id": 7}']


def test_a_key_of_any_letters_gives_a_readable_answer(client: httpx2.Client) -> None:
    key = 'a "quoted" ünï \\ \u2028 \n key'
    answer = client.post(hook, content=json.dumps({"id": key}).encode(), headers=as_json)
    assert answer.json() == {"status": "accepted", "event": key}


refusals: list[tuple[str, str, str, dict[str, str], bytes, int]] = [
    ("no token", "POST", "/hooks/shop", as_json, b"{}", 401),
    ("a wrong token", "POST", "/hooks/shop?token=wrong", as_json, b"{}", 401),
    ("an empty token", "POST", "/hooks/shop?token=", as_json, b"{}", 401),
    ("no JSON", "POST", hook, as_json, b"{", 400),
    ("no body", "POST", hook, as_json, b"", 400),
    ("not the envelope", "POST", hook, as_json, b"[1]", 400),
    ("bytes that are no UTF-8", "POST", hook, as_json, b'{"a": "\xff"}', 400),
    ("an unknown source", "POST", f"/hooks/shopp?token={token}", as_json, b"{}", 404),
    ("an unknown source, by GET", "GET", "/hooks/shopp", {}, b"", 404),
    ("an unknown path", "POST", "/", as_json, b"{}", 404),
    ("a deeper path", "POST", f"/hooks/shop/7?token={token}", as_json, b"{}", 404),
    ("a slash at the end", "POST", f"/hooks/shop/?token={token}", as_json, b"{}", 404),
    ("GET", "GET", hook, {}, b"", 405),
    ("PUT", "PUT", hook, as_json, b"{}", 405),
    ("too large", "POST", hook, as_json, b'"' + b"x" * 2000 + b'"', 413),
    ("a form", "POST", hook, {"content-type": "application/x-www-form-urlencoded"}, b"a=1&b=2", 400),
    ("half of a gzip", "POST", hook, as_json, gzip.compress(b"{}")[:-9], 400),
    ("a bomb", "POST", hook, {**as_json, "content-encoding": "gzip"}, gzip.compress(b" " * 10**6), 413),
]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"), [row[1:] for row in refusals], ids=[row[0] for row in refusals]
)
def test_what_is_refused_is_answered_in_the_4xx_and_not_kept(
    house: House, client: httpx2.Client, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = client.request(method, path, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["status"] == "refused"
    assert token not in answer.text
    assert "ada@" not in answer.text
    assert house.memory.kept == []


def test_every_wrong_credential_gets_the_same_answer(client: httpx2.Client) -> None:
    answers = {
        (answer.status_code, answer.content)
        for query in ("", "?token=", "?token=wrong", f"?token={token}x", f"?tokens={token}")
        for answer in [client.post(f"/hooks/shop{query}", content=b"{}", headers=as_json)]
    }
    assert len(answers) == 1


def test_405_names_the_method_that_is_right(client: httpx2.Client) -> None:
    assert client.get(hook).headers["allow"] == "POST"
    assert client.post("/healthz").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("largest", [2000, 2001])
def test_the_limit_counts_what_arrives_without_a_content_length(client: httpx2.Client, largest: int) -> None:
    def chunks() -> Iterator[bytes]:
        body = b'{"id": 1, "pad": "' + b"x" * (largest - 20) + b'"}'
        assert len(body) == largest
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    answer = client.post(hook, content=chunks(), headers=as_json)
    assert answer.status_code == (202 if largest <= 2000 else 413)


def _deflate(body: bytes, window: int) -> bytes:
    engine = zlib.compressobj(wbits=window)
    return engine.compress(body) + engine.flush()


def _raw_deflate(body: bytes) -> bytes:
    return _deflate(body, -zlib.MAX_WBITS)


labels: list[tuple[dict[str, str], Callable[[bytes], bytes]]] = [
    ({}, bytes),
    *(
        ({"content-type": said}, bytes)
        for said in (
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/vnd.api+json",
            "application/json; charset=latin-1",
            "text/plain; charset=utf-8",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            ";;;=",
        )
    ),
    *(({"content-encoding": said}, bytes) for said in ("identity", "", "utf-8", "gzip", "deflate", "br")),
    ({"content-encoding": "gzip"}, gzip.compress),
    ({"content-encoding": "X-GZIP"}, gzip.compress),
    ({}, gzip.compress),
    ({}, lambda body: gzip.compress(body[:3]) + gzip.compress(body[3:])),
    ({}, lambda body: gzip.compress(body) + bytes(8)),
    ({"content-encoding": "deflate"}, zlib.compress),
    ({"content-encoding": "deflate"}, _raw_deflate),
    ({"content-encoding": "deflate"}, lambda body: _deflate(body, 9)),
]


@pytest.mark.parametrize(("headers", "packed"), labels)
def test_the_body_decides_not_its_label(
    house: House, client: httpx2.Client, headers: dict[str, str], packed: Callable[[bytes], bytes]
) -> None:
    # Everflow documents no headers at all, and sends an event once: refusing would lose it.
    request = client.build_request("POST", hook, content=packed(b'{"id": 7}'))
    request.headers.pop("content-type", None)
    request.headers.update(headers)
    assert client.send(request).status_code == 202
    assert [event.body for event in house.memory.kept] == [b'{"id": 7}']


def test_a_store_that_refuses_is_answered_503_and_retry_after(house: House, client: httpx2.Client) -> None:
    house.memory.refuse_later = True
    later = client.post(hook, content=b"{}", headers=as_json)
    house.memory.refuse_at_once = True
    at_once = client.post(hook, content=b"{}", headers=as_json)
    assert [later.status_code, at_once.status_code] == [503, 503]
    assert int(later.headers["retry-after"]) > 0
    house.memory.refuse_later = house.memory.refuse_at_once = False
    assert client.post(hook, content=b"{}", headers=as_json).status_code == 202


def test_a_store_that_does_not_answer_in_time_is_known_to_keep_nothing_until_it_does() -> None:
    house = House(keeping_seconds=0.01)
    house.memory.hangs = True
    with TestClient(house.app) as client:
        assert client.post(hook, content=b"{}", headers=as_json).status_code == 503
        assert (house.receiver.keeps, house.receiver.words) == (False, "is too slow")
        house.memory.go_on()
        assert house.receiver.keeps


class FailsAgain(logging.Handler):
    """While the log is told of a store that fails, it fails once more, as another thread may meet it."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__()
        self.receiver, self.lines = receiver, 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1
        if self.lines < 3:
            self.receiver.store_fails(StoreUnavailable("the disk is full"))


def test_a_store_that_two_threads_see_fail_at_once_is_logged_once(house: House) -> None:
    handler = FailsAgain(house.receiver)
    log = logging.getLogger("connector.receiver")
    log.addHandler(handler)
    house.receiver.store_fails(StoreUnavailable("the disk is full"))
    log.removeHandler(handler)
    assert handler.lines == 1


def test_health_is_always_well_and_readiness_names_its_reasons(house: House, client: httpx2.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    house.reasons = ["store", "route:local/affiliates"]
    red = client.get("/readyz")
    assert (red.status_code, red.json()["reasons"]) == (503, ["store", "route:local/affiliates"])
    assert client.get("/healthz").status_code == 200
    assert client.head("/readyz").status_code == 503


def test_the_token_and_the_senders_text_are_in_no_log_line(
    house: House, client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="connector")
    client.post(hook, content=b'{"id": 1, "email": "ada@example.com"}', headers=as_json)
    client.post(hook, content=b'{"bug": "ada@example.com"}', headers=as_json)
    client.post(f"/hooks/{token}", content=b"{}", headers=as_json)
    client.post("/hooks/shop?token=not-the-right-one", content=b"{}", headers=as_json)
    ours = [record for record in caplog.records if record.name.startswith("connector")]  # not the test's own client
    refused = ["request.refused"] * 2
    kept_unread = ["source.bug", "request.kept_unread"]
    assert [record.getMessage() for record in ours] == ["request.accepted", *kept_unread, *refused]
    text = repr([vars(record) for record in ours])
    assert token not in text
    assert "not-the-right-one" not in text
    assert "ada@" not in text


def test_what_nobody_foresaw_is_answered_500_and_told_without_the_senders_text(
    house: House, client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    house.memory.breaks = True
    answer = client.post(hook, content=b'{"id": "ada@example.com"}', headers=as_json)
    assert answer.status_code == 500
    assert "retry-after" in answer.headers
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "receiver.bug"
    assert "ada@" not in repr(vars(record)) + answer.text
    house.memory.breaks = False
    assert client.post(hook, content=b'{"id": 1}', headers=as_json).status_code == 202


def test_a_genuine_body_that_meets_a_bug_of_its_source_is_kept_and_accepted(
    house: House, client: httpx2.Client
) -> None:
    # FirstPromoter v1 and Everflow never send again: a 400 would lose the event to our own bug.
    answer = client.post(hook, content=b'{"bug": 1}', headers=as_json)
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted", "event": "unread:1"})
    assert house.unread == [b'{"bug": 1}']
    assert house.memory.kept == []


@pytest.mark.parametrize("failure", [OSError(28, "full"), Forged("no"), Unreadable("no JSON")])
def test_a_body_that_meets_a_bug_and_can_not_be_kept_is_asked_for_again(
    house: House, client: httpx2.Client, failure: Exception
) -> None:
    house.cannot_keep = failure
    answer = client.post(hook, content=b'{"bug": 1}', headers=as_json)
    assert answer.status_code == 500
    assert int(answer.headers["retry-after"]) > 0


def test_the_log_tells_what_is_wrong_with_a_body(client: httpx2.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="connector")
    client.post(hook, content=b"[]", headers=as_json)
    (line,) = [vars(record)["fields"] for record in caplog.records if record.name == "connector.receiver"]
    assert line["reason"] == "unreadable"
    assert line["why"]


# ---------------------------------------------------------------- over a real connection


@contextmanager
def listening(house: House, *, stops_within_seconds: int = 5) -> Iterator[tuple[str, int]]:
    """The application behind uvicorn, as the program has it, on a free loopback port."""
    config = uvicorn_config(house.app, keep_alive_seconds=60, request_timeout_seconds=house.body_timeout_seconds)
    config.timeout_graceful_shutdown = stops_within_seconds
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        listener.close()


def _head(length: int, extra: str = "") -> bytes:
    return (
        f"POST {hook} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{extra}\r\n"
    ).encode()


def test_a_body_that_stops_arriving_is_answered_408() -> None:
    with (
        listening(House(body_timeout_seconds=0.3)) as address,
        socket.create_connection(address, PATIENCE_SECONDS) as sender,
    ):
        sender.sendall(_head(100) + b'{"id":')
        answer = sender.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer


def test_a_sender_that_asks_first_is_spared_a_body_that_is_too_large() -> None:
    with listening(House()) as address, socket.create_connection(address, PATIENCE_SECONDS) as sender:
        sender.sendall(_head(5000, "expect: 100-continue\r\n"))
        assert sender.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_sender_of_too_much_sees_the_answer_not_a_broken_connection() -> None:
    with listening(House()) as address, socket.create_connection(address, PATIENCE_SECONDS) as sender:
        sender.sendall(_head(6000))
        for _ in range(6):
            sender.sendall(b"x" * 1000)
        assert sender.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_length_that_is_absurd_is_refused() -> None:
    with listening(House()) as address, socket.create_connection(address, PATIENCE_SECONDS) as sender:
        sender.sendall(
            f"POST {hook} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"expect: 100-continue\r\ncontent-length: {10**18}\r\n\r\n".encode()
        )
        assert sender.recv(4096).startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))


def _answer(sender: socket.socket) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, header fields without the date, and content of the next answer. What comes after it is left unread."""
    head, content = b"", b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sender.recv(1)
        assert byte, head
        head += byte
    line, _, rest = head.partition(b"\r\n")
    fields = http.client.parse_headers(io.BytesIO(rest))
    while missing := int(fields["content-length"]) - len(content):
        part = sender.recv(missing)
        assert part, content
        content += part
    return int(line.split()[1]), sorted((name, value) for name, value in fields.items() if name != "date"), content


def _in_parts(house: House, sender: socket.socket, head: bytes, body: bytes) -> None:
    """Send a body after its head has been read."""
    before = house.receiver.begun
    sender.sendall(head)
    until(lambda: house.receiver.begun > before)
    sender.sendall(body)


bodies: list[tuple[str, bytes, int]] = [
    ("accepted", b'{"id": "7"}', 202),
    ("not the envelope", b"[]", 400),
    ("a bug in the source", b'{"bug": 1}', 202),
    ("too large", b'"' + b"x" * 2000 + b'"', 413),
    ("a key that is no Unicode", b'{"id": "\\ud800"}', 500),
]


@pytest.mark.parametrize("extra", ["", "connection: close\r\n"], ids=["kept alive", "closed"])
@pytest.mark.parametrize(("body", "status"), [row[1:] for row in bodies], ids=[row[0] for row in bodies])
def test_a_whole_request_gets_the_answer_of_one_in_parts(body: bytes, status: int, extra: str) -> None:
    house = House()
    with listening(house) as address:
        with socket.create_connection(address, PATIENCE_SECONDS) as sender:
            sender.sendall(_head(len(body), extra) + body)
            whole = _answer(sender)
        with socket.create_connection(address, PATIENCE_SECONDS) as sender:
            _in_parts(house, sender, _head(len(body), extra), body)
            in_parts = _answer(sender)
    assert whole == in_parts
    assert whole[0] == status


def test_what_a_whole_request_without_a_right_token_gets_is_what_others_get() -> None:
    house = House()
    head = _head(2).replace(token.encode(), b"wrong")
    with listening(house) as address, socket.create_connection(address, PATIENCE_SECONDS) as sender:
        sender.sendall(head + b"{}")
        whole = _answer(sender)
        _in_parts(house, sender, head, b"{}")
        assert whole == _answer(sender)
    assert whole[0] == 401


@given(data=st.data())
def test_requests_that_follow_each_other_are_answered_in_their_order_however_they_are_cut(
    house_of_pieces: tuple[str, int], data: st.DataObject
) -> None:
    bodies = [b'{"id": "%d %s"}' % (number, b"x" * data.draw(st.integers(0, 40))) for number in range(4)]
    sent = b"".join(_head(len(body)) + body for body in bodies)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=6)))
    with socket.create_connection(house_of_pieces, PATIENCE_SECONDS) as sender:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin, end in pairwise([0, *cuts, len(sent)]):
            sender.sendall(sent[begin:end])
            if data.draw(st.booleans()):
                time.sleep(0.001)  # it is read apart, as a rule
        answers = [_answer(sender)[2] for _ in bodies]
    assert [json.loads(content)["event"] for content in answers] == [json.loads(body)["id"] for body in bodies]


@pytest.fixture(scope="module")
def house_of_pieces() -> Iterator[tuple[str, int]]:
    with listening(House()) as address:
        yield address


def test_the_last_of_many_requests_may_come_when_the_others_are_answered() -> None:
    with listening(House()) as address, socket.create_connection(address, PATIENCE_SECONDS) as sender:
        sender.sendall(b"".join(_head(9) + b'{"id": %d}' % number for number in range(1, 4)) + _head(9) + b'{"id"')
        answers = [_answer(sender)[2] for _ in range(3)]
        sender.sendall(b": 4}")
        answers.append(_answer(sender)[2])
    assert [json.loads(content)["event"] for content in answers] == ["1", "2", "3", "4"]


def test_a_sender_that_asks_first_is_told_to_go_on() -> None:
    with listening(House()) as address, socket.create_connection(address, PATIENCE_SECONDS) as sender:
        sender.sendall(_head(2, "expect: 100-continue\r\n") + b"{}")
        said = b""
        while b"accepted" not in said:
            said += sender.recv(4096) or b"accepted"
        assert said.startswith(b"HTTP/1.1 100 ")
        assert b"HTTP/1.1 202 " in said


@pytest.mark.parametrize("offer", ["h2c", "websocket", "TLS/1.0"])
@pytest.mark.parametrize("pieces", ["whole", "head first", "byte by byte"])
def test_an_offer_to_speak_another_protocol_is_ignored(pieces: str, offer: str) -> None:
    """Java's client offers HTTP/2 with its first request, as RFC 7230 allows."""
    house = House()
    upgrade = f"connection: Upgrade, HTTP2-Settings\r\nupgrade: {offer}\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    head, body = _head(9, upgrade), b'{"id": 1}'
    with listening(house) as address, socket.create_connection(address, PATIENCE_SECONDS) as sender:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if pieces == "head first":
            _in_parts(house, sender, head, body)
        else:
            for piece in [head + body] if pieces == "whole" else [bytes([byte]) for byte in head + body]:
                sender.sendall(piece)
        assert _answer(sender)[0] == 202
        sender.sendall(_head(9) + b'{"id": 2}')
        assert _answer(sender)[0] == 202
    assert [event.key for event in house.memory.kept] == ["1", "2"]


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in parts"])
def test_a_sender_that_closes_its_half_of_the_connection_is_answered(whole: bool) -> None:
    house = House()
    house.memory.hangs = True
    with listening(house) as address, socket.create_connection(address, PATIENCE_SECONDS) as sender:
        if whole:
            sender.sendall(_head(2) + b"{}")
        else:
            _in_parts(house, sender, _head(2), b"{}")
        sender.shutdown(socket.SHUT_WR)
        until(lambda: bool(house.memory.held))
        house.memory.go_on()
        assert _answer(sender)[0] == 202
        assert sender.recv(1) == b""  # and then it is closed, not kept for the next request


def test_a_sender_that_closes_its_half_amid_a_body_is_not_waited_for() -> None:
    house = House(body_timeout_seconds=30.0)
    with listening(house) as address, socket.create_connection(address, PATIENCE_SECONDS) as sender:
        sender.sendall(_head(100) + b'{"id":')
        sender.shutdown(socket.SHUT_WR)
        assert sender.recv(4096) == b""


def test_a_sender_that_is_gone_before_its_event_is_safe_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="connector")
    house = House()
    house.memory.hangs = True
    with listening(house) as address, socket.create_connection(address, PATIENCE_SECONDS) as stays:
        with socket.create_connection(address, PATIENCE_SECONDS) as gone:
            gone.sendall(_head(9) + b'{"id": 1}')
            until(lambda: len(house.memory.held) == 1)
        stays.sendall(_head(9) + b'{"id": 2}')
        until(lambda: len(house.memory.held) == 2)
        house.memory.go_on()
        assert _answer(stays)[0] == 202
        until(lambda: len(caplog.records) == 2)
    assert [event.key for event in house.memory.kept] == ["1", "2"]
    assert {record.getMessage() for record in caplog.records} == {"request.accepted"}


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in parts"])
def test_what_the_disk_has_not_answered_when_the_program_stops_is_not_acknowledged(whole: bool) -> None:
    house = House()
    house.memory.hangs = True
    server = ExitStack()
    with socket.create_connection(
        server.enter_context(listening(house, stops_within_seconds=1)), PATIENCE_SECONDS
    ) as sender:
        if whole:
            sender.sendall(_head(2) + b"{}")
        else:
            _in_parts(house, sender, _head(2), b"{}")
        until(lambda: bool(house.memory.held))
        stopping = threading.Thread(target=server.close)
        stopping.start()
        assert _answer(sender)[0] == 503
        stopping.join()


hostile = st.one_of(
    st.binary(max_size=300),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
)


def test_hostile_requests_never_get_a_5xx() -> None:
    house = House()
    with TestClient(house.app, raise_server_exceptions=True) as client:

        @settings(max_examples=100)
        @given(
            method=st.sampled_from(["POST", "POST", "POST", "PUT", "GET", "OPTIONS", "DELETE"]),
            path=st.sampled_from(
                [hook, hook, hook, "/hooks/shop", "/hooks/%00", "/hooks/..%2f", "/hooks/shop?%ff=%", "/x"]
            ),
            kind=st.sampled_from(
                ["application/json", "application/json", "text/html", "", "a;b;c=;", "application/+json"]
            ),
            body=hostile,
        )
        def attack(method: str, path: str, kind: str, body: bytes) -> None:
            answer = client.request(method, path, content=body, headers={"content-type": kind})
            assert 202 <= answer.status_code < 500
            assert answer.status_code != 200

        attack()


# ---------------------------------------------------------------- the sources that come with the program


def _plausible() -> st.SearchStrategy[bytes]:
    """Bodies that look like the platforms' own, with nonsense in any place."""
    words = [
        "event", "event_id", "event_type", "type", "id", "created_at", "data", "promoter", "promotion", "promotions",
        "profile", "email", "status", "balances", "current_balance", "cash", "timestamp", "changes", "entity_id",
        "network_affiliate_id", "name", "account_status", "time_saved", "relationship", "users", "user_entities",
        "labels", "sign_up", "new_status", "offer_id", "affiliate", "custom_field_values", "campaign", "leads_count",
    ]  # fmt: skip
    texts = [
        "",
        "promoter_signed_up",
        "promoter.created",
        "2025-01-01T10:00:00Z",
        "=1+1",
        "\u202e",
        "x" * 50_000,
        "\ud800",
    ]
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.sampled_from(texts)
        | st.sampled_from([0, -1, 10**30, 1_700_000_000])
    )
    trees = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(words), inner, max_size=8),
        max_leaves=25,
    )
    envelopes = st.fixed_dictionaries(
        {"event": st.fixed_dictionaries({"id": leaves, "type": st.sampled_from(texts)}), "data": trees}
    ) | st.fixed_dictionaries({"event_id": leaves, "event_type": st.sampled_from(texts), "data": trees})
    partners = st.fixed_dictionaries(
        {"network_affiliate_id": leaves}, optional={"relationship": trees, "labels": trees}
    )
    return (trees | envelopes | partners).map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass"))


def test_no_body_makes_a_built_in_source_stumble() -> None:
    memory = Memory()
    secret = "Zt7-Rb5-Nv9-Hd4-Xk3-Wq8-Lm2"
    sources: dict[str, Source] = {}
    for name in ("firstpromoter", "everflow"):
        found = plugins.source_class(name)
        make: Callable[..., Source] = found
        sources[name] = make(name, found.Options(type=name, token=secret))
    receiver = Receiver(sources, memory, max_body_bytes=1_048_576)
    memory.deliver = receiver.deliver
    seen: set[int] = set()
    with TestClient(application(receiver, list)) as client:

        @settings(max_examples=100)
        @given(
            name=st.sampled_from(list(sources)),
            topic=st.sampled_from(["", "&topic=partner_created", "&topic=partner_sign_up_verdict", "&topic=%00"]),
            body=_plausible(),
        )
        def post(name: str, topic: str, body: bytes) -> None:
            answer = client.post(f"/hooks/{name}?token={secret}{topic}", content=body, headers=as_json)
            seen.add(answer.status_code)
            assert answer.status_code in (202, 400)
            if answer.status_code == 202:
                with suppress(UnknownShape):
                    sources[name].normalize(memory.kept[-1])

        post()
    assert seen == {202, 400}
