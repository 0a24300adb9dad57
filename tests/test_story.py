"""The story from end to end: `connector serve` in its own process, webhooks by HTTP, the table as people see it."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connector.dead_letters import LetterFile
from connector.store import Store
from tests.running import PATIENCE_SECONDS, Connector, Nursery, at_best, now, root

payloads = root.parent / "shared" / "payloads"
needs_payloads = pytest.mark.skipif(not payloads.is_dir(), reason=f"the vendors' example bodies are not in {payloads}")


@pytest.fixture
def connector(tmp_path: Path, nursery: Nursery) -> Iterator[Connector]:
    connector = Connector(tmp_path, nursery).start()
    yield connector
    connector.kill()


# ---------------------------------------------------------------- what the vendors publish


def _webhooks() -> list[Path]:
    """The webhook bodies: full ones first, since a trimmed one bears the id of the event that it was trimmed from."""
    found = [path for path in payloads.glob("*.json") if "-api_" not in path.name]
    return sorted(found, key=lambda path: ("-short" in path.name, "2026-03" in path.name, path.name))


published: dict[str, dict[str, str]] = {
    "firstpromoter:3920164": {
        "Name": "Jane Smith", "Email": "promoter@example.com", "Status": "Active", "Campaign": "Main Campaign",
        "Link": "https://www.example.com?_get=afpxunub", "Clicks": "2", "Leads": "4", "Customers": "4",
        "Sales": "4", "Revenue": "2110.00", "Commission": "527.44", "Balance due": "220.44", "Paid out": "307.00",
        "Currency": "USD", "Joined": "2022-04-26", "Last event": "Customer cancelled",
    },
    "firstpromoter:5272969": {"Status": "Active", "Commission": "8.82", "Balance due": "8.82", "Joined": "2023-02-08"},
    "firstpromoter:5779418": {"Commission": "42.00", "Balance due": "42.00", "Revenue": "200.00", "Customers": "2"},
    "firstpromoter:9000754": {
        "Name": "Cooper Faulkner", "Company": "Faulkner Media", "Status": "Active", "Country": "Australia",
        "Link": "https://www.example.com?_get=myrefid", "Clicks": "0", "Revenue": "0.00",
    },
    # Published twice with one id and two persons: the cells that both tell alike.
    "firstpromoter:9000800": {
        "Status": "Pending", "Joined": "2024-10-03", "Code": "cx2mn", "Last event": "Signed up",
    },
    "firstpromoter:12345": {"Name": "Jane Smith", "Email": "jane@example.com", "Joined": "2025-01-15"},
    "everflow:456": {
        "Name": "Jane Affiliate", "Company": "Performance Agency LLC", "Email": "jane@agency.com", "Status": "Active",
        "Country": "United States", "Labels": "mobile, tier1", "Manager": "Bob Handler", "Joined": "2024-03-03",
    },
    "everflow:457": {
        "Name": "Tom Partner", "Company": "New Partner Co", "Email": "tom@newpartner.com", "Status": "Active",
        "Last event": "Status changed",
    },
}  # fmt: skip


@needs_payloads
def test_every_published_webhook_is_answered_202_and_its_row_is_right_within_two_seconds(connector: Connector) -> None:
    webhooks = _webhooks()
    assert len(webhooks) >= 20
    for path in webhooks:
        source = path.name.split("-")[0]
        topic = path.stem.removeprefix("everflow-new-") if source == "everflow" else None
        status, answer = connector.post(source, path.read_bytes(), topic)
        assert (path.name, status, answer["status"]) == (path.name, 202, "accepted")
    rows = connector.wait_for(published)
    assert rows.keys() == published.keys()
    letters = LetterFile(connector.folder / "data" / "dead-letters.jsonl", now=now)
    assert not letters.path.exists() or letters.list() == []
    numbers = itertools.count(7001)

    def seconds_to_its_row() -> float:
        number = next(numbers)
        connector.send("firstpromoter", _fp(number, "promoter_signed_up", at, {"promoter": _promoter(number)}))
        began = time.monotonic()
        connector.wait_for({f"firstpromoter:{number}": {"Email": f"p{number}@example.com"}})
        return time.monotonic() - began

    at = "2025-01-01T10:00:00Z"
    assert at_best(seconds_to_its_row, 2) < 2


@needs_payloads
def test_the_secrets_in_published_bodies_are_nowhere_on_the_disk(connector: Connector) -> None:
    planted = "a-secret-that-must-not-be-kept"
    body = json.loads((payloads / "firstpromoter-v1-promoter_accepted.json").read_text())
    body["data"]["promoter"].update(auth_token=planted, temp_password=planted, password_setup_url=planted)
    connector.send("firstpromoter", body)
    connector.wait_for({"firstpromoter:9000754": {"Name": "Cooper Faulkner"}})
    connector.stop()
    for path in connector.folder.rglob("*"):
        if path.is_file():
            assert planted.encode() not in path.read_bytes(), path
    store = Store(f"sqlite:///{connector.folder / 'data' / 'connector.db'}", worker=False, now=now)
    (stored,) = store.read_events(0, 10)
    store.close()
    assert planted.encode() not in stored.event.body  # also unpacked
    assert b"Faulkner" in stored.event.body


# ---------------------------------------------------------------- the stories


def _promoter(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "email": f"p{number}@example.com", "status": "active", **more}


def _fp(number: int, kind: str, at: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"event": {"id": number, "type": kind, "created_at": at}, "data": data}


def _partner(number: int, saved: int, **more: Any) -> dict[str, Any]:
    return {
        "network_affiliate_id": number, "network_id": 1, "name": f"Partner {number}", "account_status": "pending",
        "default_currency_id": "EUR", "time_created": saved, "time_saved": saved,
        "relationship": {
            "sign_up": {"website_url": "https://partner.example.com"},
            "users": {"total": 1, "user_entities": [
                {"network_affiliate_user_id": number * 10, "first_name": "Mary", "last_name": "Jones",
                 "email": "mary@example.com", "account_status": "active", "time_saved": saved}
            ]},
        },
        **more,
    }  # fmt: skip


def _verdict(number: int, at: int, status: str = "active") -> dict[str, Any]:
    return {
        "network_id": 1, "network_affiliate_id": number, "network_affiliate_name": f"Partner {number}",
        "new_status": status, "employee_id": 1, "employee_full_name": "Bob Handler", "timestamp": at,
    }  # fmt: skip


def test_a_verdict_finds_its_partner_whichever_comes_first(connector: Connector) -> None:
    signed_up, verdict = "partner_signed_up", "partner_sign_up_verdict"
    connector.send("everflow", _partner(1, 1_750_000_000), signed_up)
    connector.send("everflow", _verdict(1, 1_750_000_100), verdict)
    connector.send("everflow", _verdict(2, 1_750_000_100), verdict)
    connector.send("everflow", _partner(2, 1_750_000_000), signed_up)
    cells = {"Status": "Active", "Email": "mary@example.com", "Name": "Mary Jones", "Last event": "Status changed"}
    rows = connector.wait_for({"everflow:1": cells, "everflow:2": cells})
    one, two = rows["everflow:1"], rows["everflow:2"]
    for own in ("Affiliate ID", "Company"):
        del one[own], two[own]
    assert one == two


def test_a_reward_changes_only_the_balances(connector: Connector) -> None:
    profile = {"first_name": "Mary", "last_name": "Jones", "country": "US"}
    promoter = _promoter(7, profile=profile, earnings_balance={"cash": 1000}, current_balance={"cash": 1000})
    connector.send("firstpromoter", _fp(1, "promoter_signed_up", "2025-01-01T10:00:00Z", {"promoter": promoter}))
    before = connector.wait_for({"firstpromoter:7": {"Commission": "10.00", "Name": "Mary Jones"}})["firstpromoter:7"]
    promoter = {"id": 7, "earnings_balance": {"cash": 5250}, "current_balance": {"cash": 4000}}
    reward = {"id": 5, "status": "approved", "amount": 4250, "unit": "cash", "promoter": promoter}
    connector.send("firstpromoter", _fp(2, "reward_created", "2025-01-02T10:00:00Z", reward))
    after = connector.wait_for({"firstpromoter:7": {"Commission": "52.50", "Balance due": "40.00"}})["firstpromoter:7"]
    changed = {column for column in before if before[column] != after[column]}
    assert changed == {"Commission", "Balance due", "Last event", "Last event at"}


def test_a_promoter_in_three_campaigns_keeps_three_memberships(connector: Connector) -> None:
    for number in (1, 2, 3):
        promotion = {
            "id": number, "campaign_id": number * 10, "campaign_name": f"Campaign {number}", "ref_id": f"ref{number}",
            "referral_link": f"https://shop.example.com?fpr=ref{number}", "visitors_count": number, "sales_count": 1,
        }  # fmt: skip
        data = {"state": "accepted", "promoter": _promoter(8), "promotion": promotion}
        connector.send("firstpromoter", _fp(number, "promoter_accepted", f"2025-01-0{number}T10:00:00Z", data))
    connector.wait_for({"firstpromoter:8": {"Clicks": "6", "Sales": "3"}})
    connector.stop()
    store = Store(f"sqlite:///{connector.folder / 'data' / 'connector.db'}", worker=False, now=now)
    facts = store.load(["firstpromoter:8"])["firstpromoter:8"].facts
    store.close()
    text = facts.decode() if isinstance(facts, bytes) else str(facts)
    assert all(f"Campaign {number}" in text for number in (1, 2, 3))


def _counted(connector: Connector) -> tuple[int, int, int]:
    """Events that were read, how many of them were duplicates, and what is pending."""
    status = connector.status()
    return (
        sum(source.received for source in status.sources),
        sum(source.duplicates for source in status.sources),
        sum(route.pending for route in status.routes),
    )


def test_duplicates_change_nothing(connector: Connector) -> None:
    event = _fp(9, "promoter_signed_up", "2025-01-01T10:00:00Z", {"promoter": _promoter(9)})
    answers = [connector.post("firstpromoter", json.dumps(event).encode()) for _ in range(5)]
    assert {status for status, _ in answers} == {202}
    assert len({answer["event"] for _, answer in answers}) == 1
    connector.wait_for({"firstpromoter:9": {"Email": "p9@example.com"}})
    connector.wait_until(lambda: _counted(connector) == (5, 4, 0))
    table = connector.table.stat()
    connector.send("firstpromoter", event)
    connector.wait_until(lambda: _counted(connector) == (6, 5, 0))
    assert connector.table.stat().st_mtime_ns == table.st_mtime_ns
    assert len(connector.rows()) == 1


def test_the_shape_of_2017_and_short_bodies_are_understood(connector: Connector) -> None:
    # The article of 2017 writes ids in quotes and one unit in the singular.
    promoter = {"id": "234", "email": "old@example.com", "current_balance": {"free_month": 2}}
    event = {"id": "77", "type": "promoter_signed_up", "created_at": "2017-05-01T10:00:00.000Z"}
    old = {"event": event, "data": {"promoter": promoter}}
    short = {"event": {"id": 78, "type": "lead_signup"}, "data": {"promoter": {"id": 235}}}
    connector.send("firstpromoter", old)
    connector.send("firstpromoter", short)
    connector.wait_for({"firstpromoter:234": {"Email": "old@example.com"}, "firstpromoter:235": {"Email": ""}})


def test_one_affiliate_that_is_hopeless_does_not_hold_up_the_others(connector: Connector) -> None:
    hostile = {
        "promoter": _promoter(
            1, profile={"first_name": "=cmd|' /C calc'!A0", "last_name": "\u202e x", "company_name": "x" * 50_000}
        )
    }
    connector.send("firstpromoter", _fp(1, "promoter_signed_up", "2025-01-01T10:00:00Z", hostile))
    connector.send("firstpromoter", _fp(2, "promoter_signed_up", "2025-01-01T10:00:00Z", {"promoter": _promoter(2)}))
    connector.wait_for({"firstpromoter:2": {"Email": "p2@example.com"}})
    row = connector.wait_for({"firstpromoter:1": {"Email": "p1@example.com"}})["firstpromoter:1"]
    assert row["Name"].startswith("'=cmd")  # text, not a formula


def test_bodies_of_every_size_and_shape_never_get_a_5xx(connector: Connector) -> None:
    wide = {"promoter": {"id": 3, **{f"key{n}": n for n in range(10_000)}}}
    deep = b'{"event": {"id": 1, "type": "x"}, "data": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"
    bodies = [
        (json.dumps(_fp(3, "promoter_signed_up", "2025-01-01T10:00:00Z", wide)).encode(), 202),
        (json.dumps(_fp(4, "x" * 50_000, "2025-01-01T10:00:00Z", {"promoter": _promoter(4)})).encode(), None),
        (deep, 400),
        (b"[" * 100_000, 400),
        (b'{"a": NaN}', 400),
        (b'{"event": {"id": 1, "id": 2, "type": "x"}, "data": {}}', 400),
        (b'{"event": {"id": 1, "type": "\\ud800"}, "data": {}}', 202),  # one bad character is U+FFFD
        (b"\xef\xbb\xbf{}", 400),
        (b"1" * 20_000, 400),
        (b'{"event": {"id": ' + b"9" * 20_000 + b', "type": "x"}, "data": {}}', None),
        (b"\x00" * 1000, 400),
        (b'"' + b"x" * 1_100_000 + b'"', 413),
    ]
    for body, expected in bodies:
        status, _ = connector.post("firstpromoter", body)
        assert status < 500
        assert status != 200
        assert expected in (None, status), (body[:60], status)
    connector.wait_for({"firstpromoter:3": {}})
    assert not [line for line in connector.lines() if "bug" in line["event"]]


# ---------------------------------------------------------------- commands beside a running server


def _command(connector: Connector, *words: str) -> tuple[int, str]:
    done = connector.command(*words)
    return done.returncode, done.stdout + done.stderr


def test_a_dead_letter_is_delivered_after_the_fix_and_a_replay(connector: Connector) -> None:
    # A stranger's event that nobody can read, kept and put on file.
    odd = _fp(1, "promoter_signed_up", "2025-01-01T10:00:00Z", {"promoter": {"id": {"not": "an id"}}})
    connector.send("firstpromoter", odd)
    letters = LetterFile(connector.folder / "data" / "dead-letters.jsonl", now=now)
    connector.wait_until(lambda: letters.path.exists() and letters.list())
    code, text = _command(connector, "dead-letters", "list", "--json")
    (letter,) = json.loads(text)["letters"]
    assert (code, letter["stage"], letter["place"]) == (1, "normalize", "firstpromoter")
    # Nothing was fixed: the replay says so, it fails again, and is one letter still.
    assert _command(connector, "dead-letters", "replay", letter["id"])[0] == 1
    connector.wait_until(letters.list)
    assert [again.id for again in letters.list()] == [letter["id"]]
    assert _command(connector, "dead-letters", "drop", letter["id"])[0] == 0
    assert letters.list() == []


def test_a_resync_beside_the_running_server_takes_effect_within_seconds(connector: Connector) -> None:
    connector.send("firstpromoter", _fp(1, "promoter_signed_up", "2025-01-01T10:00:00Z", {"promoter": _promoter(1)}))
    connector.wait_for({"firstpromoter:1": {"Email": "p1@example.com"}})
    connector.table.unlink()
    code, text = _command(connector, "resync", "local/local_csv")
    assert (code, "1 affiliate will be written again" in text) == (0, True), text
    connector.wait_for({"firstpromoter:1": {"Email": "p1@example.com"}})


def test_a_table_that_somebody_deleted_comes_back_whole_with_the_next_event(connector: Connector) -> None:
    def signs_up(number: int) -> None:
        body = {"promoter": _promoter(number)}
        connector.send("firstpromoter", _fp(number, "promoter_signed_up", "2025-01-01T10:00:00Z", body))

    for number in (1, 2, 3):
        signs_up(number)
    connector.wait_for({f"firstpromoter:{number}": {"Email": f"p{number}@example.com"} for number in (1, 2, 3)})
    connector.wait_until(lambda: connector.status().routes[0].pending == 0)
    connector.table.unlink()
    signs_up(4)
    connector.wait_for({f"firstpromoter:{number}": {"Email": f"p{number}@example.com"} for number in (1, 2, 3, 4)})


def test_an_edited_mapping_rewrites_the_table_at_the_next_start(connector: Connector) -> None:
    connector.send("firstpromoter", _fp(1, "promoter_signed_up", "2025-01-01T10:00:00Z", {"promoter": _promoter(1)}))
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})
    connector.stop()
    mapping = connector.folder / "mappings" / "local_csv.toml"
    mapping.write_text(mapping.read_text(encoding="utf-8").replace('"Active"', '"Aboard"'), encoding="utf-8")
    connector.start()
    connector.wait_for({"firstpromoter:1": {"Status": "Aboard"}})


# ---------------------------------------------------------------- stops and kills


def test_sigterm_finishes_the_answers_and_exits_0_within_10_seconds(tmp_path: Path, nursery: Nursery) -> None:
    connector = Connector(tmp_path, nursery).start()
    accepted: list[int] = []
    stop = threading.Event()

    def post(worker: int) -> None:
        number = worker * 100_000
        while not stop.is_set():
            number += 1
            event = _fp(number, "promoter_signed_up", "2025-01-01T10:00:00Z", {"promoter": _promoter(number)})
            try:
                status, _ = connector.post("firstpromoter", json.dumps(event).encode())
            except (OSError, AssertionError):
                return  # it does not accept any more
            assert status == 202
            accepted.append(number)

    posters = [threading.Thread(target=post, args=(worker,)) for worker in range(3)]
    for poster in posters:
        poster.start()
    connector.wait_until(lambda: len(accepted) > 10)
    seconds = connector.stop()
    stop.set()
    for poster in posters:
        poster.join()
    assert seconds < 10
    assert connector.lines()[-1] == {"event": "exit", "code": 0}
    connector.start()
    connector.wait_for({f"firstpromoter:{number}": {"Status": "Active"} for number in accepted})
    connector.kill()


def test_a_second_server_on_the_same_store_is_refused_with_the_reason(connector: Connector) -> None:
    code, text = _command(connector, "serve")
    assert code == 1
    assert "in use" in text
    assert str(connector.pid) in text


def test_a_port_that_is_taken_is_said_plainly(tmp_path: Path, nursery: Nursery) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = Connector(tmp_path / "a", nursery).start()
    second = Connector(tmp_path / "b", nursery)
    port = first.port
    second.config.write_text(second.config.read_text().replace("port = 0", f"port = {port}"))
    code, text = _command(second, "serve")
    first.kill()
    assert code == 1
    assert f"can't listen on 127.0.0.1:{port}: Address already in use; another program does: choose another" in text


def _affiliate(number: int) -> int:
    """Whom event *number* is about: 400 affiliates for each poster, again and again."""
    worker, turn = divmod(number, 1_000_000)
    return worker * 1_000_000 + turn % 400 + 1


class _Posters:
    """Threads that post new affiliates without end, to whatever port is open, and note what was accepted."""

    def __init__(self, connector: Connector, count: int) -> None:
        self.connector = connector
        self.accepted: list[int] = []
        self.other: list[int] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(worker,)) for worker in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, worker: int) -> None:
        number = worker * 1_000_000
        while not self.stop.is_set():
            number += 1
            promoter = _promoter(_affiliate(number), profile={"first_name": f"n{number}"})
            at = f"2025-01-01T10:{number // 60_000:02d}:{number // 1000 % 60:02d}.{number % 1000:03d}Z"
            event = json.dumps(_fp(number, "promoter_signed_up", at, {"promoter": promoter})).encode()
            while not self.stop.is_set():
                try:
                    status, _ = self.connector.post("firstpromoter", event)
                except (OSError, AssertionError, ValueError):
                    time.sleep(0.005)
                    continue
                except Exception:  # http.client: the answer broke off
                    continue
                (self.accepted if status == 202 else self.other).append(number)
                break

    def have_accepted(self, count: int) -> bool:
        return len(self.accepted) >= count

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_sigkill_at_any_moment_loses_no_answered_event_and_halves_no_file(
    tmp_path: Path, nursery: Nursery, request: pytest.FixtureRequest
) -> None:
    rounds = request.config.getoption("--kills") or 50
    chance = random.Random(20_261_120)
    connector = Connector(tmp_path, nursery)
    posters = _Posters(connector, 3)
    letters_file = tmp_path / "data" / "dead-letters.jsonl"
    header = ""
    try:
        for turn in range(rounds):
            connector.launch()
            # From before it listens to the midst of receiving, projecting and writing: every second one is killed some
            # time after its start, the others after they have accepted something, however slow the machine is.
            if turn % 2:
                enough = len(posters.accepted) + chance.randint(1, 30)
                assert connector.wait_until_it_listens(PATIENCE_SECONDS), connector.lines()
                connector.wait_until(partial(posters.have_accepted, enough))
            ends = time.monotonic() + chance.uniform(0.0, 0.02 if turn % 2 else 0.5)
            while time.monotonic() < ends:
                connector.look_for_port()
                time.sleep(0.003)
            connector.kill()
            if connector.table.exists():
                whole = connector.table.read_bytes()
                assert whole.endswith(b"\n")
                lines = whole.decode("utf-8-sig").splitlines()
                header = header or lines[0]
                assert lines[0] == header
                assert all(line.count(",") == header.count(",") for line in lines)
            if letters_file.exists():
                assert all(json.loads(line) for line in letters_file.read_bytes().splitlines())
    finally:
        posters.end()
    assert posters.other == []
    assert len(posters.accepted) > 5 * rounds, "the kills came too early to mean anything"
    connector.start()
    last: dict[int, int] = {}
    for number in posters.accepted:
        record = _affiliate(number)
        last[record] = max(last.get(record, 0), number)
    # An event whose answer the kill cut off may be kept as well: then its successor stands there.
    expected = {f"firstpromoter:{record}": {"Email": f"p{record}@example.com"} for record in last}
    connector.wait_for(expected)
    # What is still pending at a stop is written after the next start: wait until nothing is.
    connector.wait_until(lambda: connector.status().waiting == 0 == _counted(connector)[2])
    connector.stop()
    store = Store(f"sqlite:///{tmp_path / 'data' / 'connector.db'}", worker=False, now=now)
    kept: set[str] = set()
    after = 0
    while events := store.read_events(after, 5000):
        kept.update(stored.event.key.removesuffix(":short") for stored in events)
        after = events[-1].seq
    waiting = store.status().waiting
    store.close()
    lost = [number for number in posters.accepted if f"promoter_signed_up:{number}" not in kept]
    assert lost == []
    assert waiting == 0
    rows = connector.rows()
    for record, number in last.items():
        assert int(rows[f"firstpromoter:{record}"]["Name"].removeprefix("n")) >= number


def test_it_runs_as_a_plain_command_and_stops_at_a_signal(tmp_path: Path, nursery: Nursery) -> None:
    connector = Connector(tmp_path, nursery)
    with connector.log.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "connector", "serve"],
            stderr=log, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip
    connector.wait_until(connector.look_for_port)
    connector.send("firstpromoter", _fp(1, "promoter_signed_up", "2025-01-01T10:00:00Z", {"promoter": _promoter(1)}))
    connector.wait_for({"firstpromoter:1": {"Email": "p1@example.com"}})
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 0
    tokens = connector.config.read_text()
    assert "t0ken" in tokens
    assert "t0ken" not in connector.log.read_text()
