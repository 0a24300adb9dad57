"""Planted secrets and people's data turn up nowhere but where they belong.

The whole program runs, with every sink, every log line that it can be made to write, and far sides that fail and quote
what they were sent. Then its log, its answers, its metrics, its alerts and what `status` prints are searched.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.far_sides.chat import Chat
from tests.far_sides.hubspot_server import HubSpotServer
from tests.far_sides.loopback import Call, Fault, Reply
from tests.far_sides.sheets_book import Book
from tests.far_sides.sheets_server import SheetsServer
from tests.running import PATIENCE_SECONDS, root

token = "c4nary-t0ken-Fp-8sJq2LwXz"
old_token = "c4nary-0ld-t0ken-Fp-91kLmW"
everflow_token = "c4nary-t0ken-Ef-5rTyUiOp7"
signing_secret = "c4nary-s1gning-s3cret-77aQ"
metrics_token = "c4nary-m3trics-t0ken-Vb3n"
alert_secret = "c4nary-alert-path-T0B0"
hubspot_token = "c4nary-pat-eu1-hubsp0t-00aa"
forged = "c4nary-f0rged-t0ken-zZ9qL"
secrets = [
    token, old_token, everflow_token, signing_secret, metrics_token, alert_secret, hubspot_token, forged,
    "c4nary-auth-token-of-a-promoter", "c4nary-temp-password", "c4nary-tax-id", "203.0.113.77",
]  # fmt: skip
people = [
    "canary.ada@example.com", "canary.bob@example.org", "canary.eve@example.net", "canary.zoe@example.edu",
    "Canaryfirst", "Canarylast", "Canarycompany", "+442071838777", "canary.lead@example.com",
    "canary.manager@example.com", "Canarynotes", "canary.unknown@example.com", "canary-word-in-a-path",
]  # fmt: skip


class Run:
    """The program as a process, and everything that it lets out."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        (folder / "mappings").symlink_to(root / "mappings")
        (folder / "config.toml").write_text(config, encoding="utf-8")
        self.log = folder / "log"
        self.heard: list[str] = []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "connector", "serve", "--verbose", "--config", str(folder / "config.toml")],
                cwd=root, stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin"},
            )  # fmt: skip
        self.port = 0
        self.until(self.listens)

    def until(self, holds: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        ends = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < ends, self.log.read_text()[-3000:]
            time.sleep(0.01)

    def listens(self) -> bool:
        for line in self.log.read_text().splitlines():
            if "server.started" in line:
                self.port = int(json.loads(line)["url"].rpartition(":")[2])
        return bool(self.port)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            self.heard.append(f"{answer.status} {answer.headers} {answer.read().decode()}")
            return answer.status
        finally:
            connection.close()

    def send(self, source: str, credential: str, body: object, topic: str = "") -> int:
        path = f"/hooks/{source}?token={credential}" + (f"&topic={topic}" if topic else "")
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, data, content_type="application/json")

    def logged(self, word: str) -> bool:
        return word in self.log.read_text(encoding="utf-8")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_SECONDS)


def promoter(number: int, email: str, event_id: int, **more: Any) -> dict[str, Any]:
    person = {
        "id": number, "email": email, "status": "active", "auth_token": "c4nary-auth-token-of-a-promoter",
        "temp_password": "c4nary-temp-password", "note": "Canarynotes",
        "profile": {"first_name": "Canaryfirst", "last_name": "Canarylast", "company_name": "Canarycompany",
                    "phone_number": "+442071838777", "country": "GB"},
    }  # fmt: skip
    head = {"id": event_id, "type": "promoter_signed_up", "created_at": "2026-11-20T10:00:00Z"}
    return {"event": head, "data": {"promoter": person, **more}}


def partner(number: int) -> dict[str, Any]:
    return {
        "network_affiliate_id": number, "network_id": 1, "name": "Canarycompany", "account_status": "pending",
        "internal_notes": "Canarynotes", "time_saved": 1_790_000_000,
        "relationship": {
            "users": {"entries": [{"network_affiliate_user_id": 1, "email": "canary.zoe@example.edu",
                                   "first_name": "Canaryfirst", "account_status": "active"}]},
            "signup": {"tax_id": "c4nary-tax-id", "user_ip": "203.0.113.77"},
        },
    }  # fmt: skip


def configuration(chat: Chat, hubspot: HubSpotServer, sheets: SheetsServer) -> str:
    return f"""
[server]
port = 0
stale_after_seconds = 1
[retry]
first_wait_seconds = 0.2
longest_wait_seconds = 1
[metrics]
token = "{metrics_token}"
[alerts]
url = "{chat.url}/services/{alert_secret}"
waiting_minutes = 0
[sources.firstpromoter]
type = "firstpromoter"
token = "{token}"
tokens = ["{old_token}"]
signing_secrets = ["{signing_secret}"]
[sources.everflow]
type = "everflow"
token = "{everflow_token}"
[sinks.local]
type = "csv"
path = "data/affiliates.csv"
mappings = ["mappings/local_csv.toml"]
[sinks.book]
type = "xlsx"
path = "data/affiliates.xlsx"
mappings = ["mappings/local_csv.toml"]
[sinks.crm]
type = "hubspot"
access_token = "{hubspot_token}"
base_url = "{hubspot.url}"
mappings = ["mappings/hubspot_contacts.toml"]
[sinks.sheets]
type = "google_sheets"
spreadsheet = "{sheets.book.id}"
credentials_file = "key.json"
base_url = "{sheets.url}"
mappings = ["mappings/google_sheets.toml"]
"""


def quoting(call: Call) -> Fault | None:
    """A far side that fails and repeats what it was sent, as proxies and gateways do."""
    if call.method != "POST" or call.number % 3:
        return None
    return quoted(call)


def quoting_often(call: Call) -> Fault | None:
    """The same, for two of three calls: as HubSpot is read and written, nothing comes through until it ends."""
    return quoted(call) if call.method == "POST" and call.number % 3 else None


def quoted(call: Call) -> Fault:
    text = call.body.decode("utf-8", "replace") + str(call.headers)
    return Fault("status", Reply([400, 500, 502, 403][call.number % 4], {"message": text, "category": text}))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("canary")
    book = Book("1CanaryCanaryCanary")
    book.add("Sheet1")
    with Chat() as chat, HubSpotServer() as hubspot, SheetsServer(book) as sheets:
        hubspot.token = hubspot_token
        hubspot.fault_for = quoting_often
        sheets.fault_for = quoting
        key = sheets.credentials()
        (folder / "key.json").write_text(json.dumps(key))
        run = Run(folder, configuration(chat, hubspot, sheets))
        run.heard.append("")
        try:
            _let_everything_happen(run, chat, hubspot, sheets)
            for words in (["status"], ["status", "--json"], ["check"]):
                done = subprocess.run(
                    [sys.executable, "-m", "connector", *words, "--config", str(folder / "config.toml")],
                    cwd=root, capture_output=True, text=True, check=False, timeout=60,
                )  # fmt: skip
                run.heard.append(done.stdout + done.stderr)
            run.stop()
        finally:
            run.process.kill()
            run.process.wait()
        run.heard += [json.dumps(body, ensure_ascii=False) for body in chat.taken]
        run.private_key = key["private_key"]  # type: ignore[attr-defined]
        yield run


def _let_everything_happen(run: Run, chat: Chat, hubspot: HubSpotServer, sheets: SheetsServer) -> None:
    # What is welcome, in every shape.
    assert run.send("firstpromoter", token, promoter(1, "canary.ada@example.com", 1)) == 202
    assert run.send("firstpromoter", old_token, promoter(2, "canary.bob@example.org", 2)) == 202
    assert run.send("firstpromoter", token, promoter(1, "canary.ada@example.com", 1)) == 202
    assert run.send("everflow", everflow_token, partner(3), "partner_created") == 202
    lead = {"event": {"id": 9, "type": "lead_signup"}, "data": {"email": "canary.lead@example.com",
            "promoter": {"id": 1, "email": "canary.ada@example.com"}}}  # fmt: skip
    assert run.send("firstpromoter", token, lead) == 202
    signed = json.dumps(promoter(4, "canary.eve@example.net", 4)).encode()
    signature = hmac.new(signing_secret.encode(), signed, hashlib.sha256).hexdigest()
    assert run.ask("POST", "/hooks/firstpromoter", signed, content_type="application/json",
                   x_webhook_signature=signature) == 202  # fmt: skip
    # What nobody can read, and what is refused.
    unknown = {
        "event": {"id": 5, "type": "promoter_signed_up"},
        "data": {"promoter": {"email": "canary.unknown@example.com"}},
    }
    assert run.send("firstpromoter", token, unknown) == 202
    assert run.send("firstpromoter", token, promoter(6, "canary not an address", 6)) == 202
    assert run.send("firstpromoter", forged, promoter(7, "canary.ada@example.com", 7)) == 401
    basic = base64.b64encode(f"canary.ada@example.com:{forged}".encode()).decode()
    for value in (f"Bearer {forged}", f"Basic {basic}", forged):
        assert run.ask("POST", "/hooks/everflow", b"{}", content_type="application/json", authorization=value) == 401
    assert run.send("firstpromoter", token, b'{"event": "canary.ada@example.com"') == 400
    assert run.send(f"{forged}", token, {}) == 404
    assert run.ask("POST", f"/canary-word-in-a-path/{token}", b"{}") == 404
    assert run.ask("PUT", f"/hooks/firstpromoter?token={token}", b"{}") == 405
    assert (
        run.ask(
            "POST",
            f"/hooks/firstpromoter?token={token}",
            b"canary.ada@example.com",
            content_type="text/canary.ada@example.com",
        )
        == 400
    )
    assert run.send("firstpromoter", token, b'{"a": "' + b"canary.ada@example.com" * 60_000 + b'"}') == 413
    assert run.ask("GET", "/metrics", authorization=f"Bearer {forged}") == 401
    # Far sides in every mood.
    run.until(lambda: run.logged("batch.failed") and run.logged("batch.delivered"))
    run.until(lambda: chat.told("Route crm/"))  # with what HubSpot is said to have answered
    run.ask("GET", "/readyz")
    hubspot.fault_for = lambda call: Fault("reset_after") if call.number % 2 else None
    sheets.denied = "not_shared"
    assert run.send("firstpromoter", token, promoter(8, "canary.zoe@example.edu", 8)) == 202
    run.until(lambda: chat.told("share"))
    hubspot.fault_for = sheets.fault_for = lambda call: None
    sheets.denied = ""
    run.ask("GET", "/readyz")
    run.ask("GET", "/healthz")
    assert run.ask("GET", "/metrics", authorization=f"Bearer {metrics_token}") == 200
    run.until(lambda: b"canary.zoe@example.edu" in (run.folder / "data" / "affiliates.csv").read_bytes())


def forms(word: str) -> set[str]:
    """*word*, and how it looks in URLs, JSON and headers."""
    plain = {word, quote(word, safe=""), quote(word), json.dumps(word)[1:-1]}
    encoded = {base64.b64encode(f"{lead}{word}".encode()).decode()[4:-4] for lead in ("", "x", "xy")}
    return {form.lower() for form in plain} | {form for form in encoded if len(form) > 12}


def found_in(text: str) -> list[str]:
    lower = text.lower()
    return [word for word in secrets + people if any(form in lower or form in text for form in forms(word))]


def test_nothing_that_was_planted_is_in_the_log(everything: Run) -> None:
    lines = everything.log.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if found_in(line)] == []


def test_nothing_that_was_planted_is_in_an_answer_a_metric_an_alert_or_a_status(everything: Run) -> None:
    assert [text for text in everything.heard if found_in(text)] == []


def test_no_part_of_the_service_accounts_key_is_let_out(everything: Run) -> None:
    key: str = everything.private_key  # type: ignore[attr-defined]
    parts = [line for line in key.splitlines() if len(line) > 30]
    text = everything.log.read_text(encoding="utf-8") + "".join(everything.heard)
    assert parts
    assert [part for part in parts if part in text] == []


def test_what_was_planted_has_gone_where_it_belongs_so_the_search_had_something_to_find(everything: Run) -> None:
    table = (everything.folder / "data" / "affiliates.csv").read_text(encoding="utf-8-sig")
    assert "canary.ada@example.com" in table
    letters = (everything.folder / "data" / "dead-letters.jsonl").read_text(encoding="utf-8")
    assert "canary.unknown@example.com" in letters
    log = everything.log.read_text(encoding="utf-8")
    for event in ("request.accepted", "request.refused", "batch.failed", "batch.delivered", "route.paused",
                  "events.unreadable", "alert.sent", "server.stopped"):  # fmt: skip
        assert event in log, f"the run wrote no {event}"
    assert "connector_webhooks_received_total" in "".join(everything.heard)
    assert found_in("see canary.ada%40example.com") == ["canary.ada@example.com"]
    assert found_in(f"Authorization: Basic {base64.b64encode(f'x:{token}'.encode()).decode()}") == [token]


def test_secrets_of_bodies_are_not_even_in_the_store_or_the_dead_letters(everything: Run) -> None:
    from datetime import UTC, datetime

    from connector.store import Store

    kept = b"".join(path.read_bytes() for path in (everything.folder / "data").iterdir())
    store = Store(str(everything.folder / "data" / "connector.db"), worker=True, now=lambda: datetime.now(UTC))
    kept += b"".join(stored.event.body for stored in store.read_events(0, 1000))
    store.close()
    assert b"canary.eve@example.net" in kept
    for word in secrets:
        assert word.encode() not in kept, word
