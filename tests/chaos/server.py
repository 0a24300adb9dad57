"""What senders do to a running server."""

from __future__ import annotations

import http.client
import json

from tests.running import PATIENCE_SECONDS, Connector, tokens


def event(number: int) -> bytes:
    """A sign-up of promoter *number*."""
    about = {"id": number, "type": "promoter_signed_up", "created_at": "2025-01-01T10:00:00Z"}
    promoter = {"id": number, "email": f"p{number}@example.com", "status": "active"}
    return json.dumps({"event": about, "data": {"promoter": promoter}}).encode()


def post(
    connector: Connector, body: bytes, *, token: str | None = None, seconds: float = PATIENCE_SECONDS
) -> tuple[int, dict[str, str]]:
    """Send a webhook over its own connection: status and headers (lower-case names)."""
    target = f"/hooks/firstpromoter?token={tokens['firstpromoter'] if token is None else token}"
    return _ask(connector, "POST", target, body, seconds)


def get(connector: Connector, path: str, seconds: float = PATIENCE_SECONDS) -> tuple[int, dict[str, str]]:
    return _ask(connector, "GET", path, None, seconds)


def _ask(
    connector: Connector, method: str, target: str, body: bytes | None, seconds: float
) -> tuple[int, dict[str, str]]:
    assert connector.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", connector.port, timeout=seconds)
    try:
        connection.request(method, target, body, {"content-type": "application/json"} if body is not None else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()
