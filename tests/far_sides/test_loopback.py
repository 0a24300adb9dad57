"""The base of the far sides does what it says; the sinks' tests lean on it."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

import pytest

from tests.far_sides.loopback import Call, FarSide, Fault, Reply
from tests.running import PATIENCE_SECONDS


class Counter(FarSide):
    """Counts what it handled."""

    def __init__(self) -> None:
        super().__init__()
        self.handled = 0

    def answer(self, call: Call) -> Reply:
        self.handled += 1
        return Reply(200, {"handled": self.handled, "said": call.json})


def _post(server: FarSide, timeout: float = 30.0) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=timeout)
    try:
        connection.request("POST", "/a%20b?x=1&x=2", body=b'{"a": 1}', headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_call_is_recorded_and_answered() -> None:
    with Counter() as server:
        assert _post(server) == (200, b'{"handled":1,"said":{"a":1}}')
        (call,) = server.calls
    assert (call.method, call.path, call.query) == ("POST", "/a b", {"x": ["1", "2"]})
    assert server.statuses == [200]


def test_one_connection_serves_many_calls() -> None:
    with Counter() as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=PATIENCE_SECONDS)
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read()
        connection.close()
    assert server.handled == 3


@pytest.mark.parametrize("head", [b"content-length: 8\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n8\r\n"])
def test_a_client_that_dies_in_the_middle_of_a_call_has_made_none(head: bytes) -> None:
    with Counter() as server:
        with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), 30) as client:
            client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\n" + head + b'{"a"')
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""
        assert _post(server) == (200, b'{"handled":1,"said":{"a":1}}')
        assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("kind", "error", "handled"),
    [
        ("reset_before", ConnectionError, 0),
        ("reset_after", ConnectionError, 1),
        ("hang_after", TimeoutError, 1),
        ("cut_after", http.client.IncompleteRead, 1),
    ],
)
def test_a_fault_loses_the_answer(kind: str, error: type[Exception], handled: int) -> None:
    with Counter() as server:
        server.faults.append(Fault(kind))
        with pytest.raises(error):
            _post(server, timeout=1.0 if kind == "hang_after" else 30.0)
        assert server.handled == handled
        assert _post(server)[0] == 200


@pytest.mark.parametrize(("kind", "handled"), [("status", 0), ("status_after", 1)])
def test_a_status_can_stand_in_for_the_answer(kind: str, handled: int) -> None:
    with Counter() as server:
        server.faults.append(Fault(kind, Reply(503, {"message": "busy"}, {"Retry-After": "7"})))
        assert _post(server)[0] == 503
        assert server.handled == handled


def test_a_bug_of_the_server_itself_is_raised_at_the_end() -> None:
    class Broken(FarSide):
        def answer(self, call: Call) -> Reply:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Broken() as server:
        assert _post(server)[0] == 500
