"""Three connectors on one PostgreSQL, and everything that can die dies under load.

``python -m tests.chaos.cluster [--kills N] [--crashes N] [--both N] [--sleeps N] [--sleep-seconds S] [--seed N]``;
``--asynchronous`` lets the connectors commit with ``synchronous_commit = off``: then the campaign must fail.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.chaos.engine import scratch
from tests.far_sides.hubspot_server import HubSpotServer
from tests.machines import Machine
from tests.postgres import Cluster, own_cluster
from tests.running import Nursery, root, until

full = {"kills": 300, "crashes": 30, "both": 30, "sleeps": 2}
_machines = 3
_senders = 4
_affiliates_of_a_sender = 40
_settling_seconds = 180.0
_asynchronous = """
import connector.store.postgres as postgres
postgres._OPTIONS = postgres._OPTIONS.replace("synchronous_commit=on", "synchronous_commit=off")
"""


@dataclass
class Figures:
    """What a campaign came to; *wrong* is empty when all holds."""

    kills: int = 0
    crashes: int = 0
    sleeps: int = 0
    sent: int = 0
    acknowledged: int = 0
    lost: int = 0
    late: int = 0
    seconds: float = 0.0
    takeovers: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def takeover(self, share: float) -> float:
        ordered = sorted(self.takeovers)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.crashes} crashes of PostgreSQL, {self.sleeps} sleeps in {self.seconds:.0f} s;"
            f" {self.acknowledged} of {self.sent} events acknowledged, {self.lost} of them lost;"
            f" {len(self.takeovers)} take-overs: p50 {self.takeover(0.5):.1f} s, p99 {self.takeover(0.99):.1f} s;"
            f" calls that a sleeper sent late, whose rows were written once more: {self.late};"
            f" {len(self.wrong)} faults"
        )


def _body(affiliate: int, version: int) -> bytes:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + version))
    event = {"id": affiliate * 100_000 + version, "type": "promoter_updated", "created_at": at}
    promoter = {"id": affiliate, "email": f"p{affiliate}v{version}@example.com", "status": "active"}
    return json.dumps({"event": event, "data": {"promoter": promoter}}).encode()


def _version(email: str) -> int:
    found = re.fullmatch(r"p\d+v(\d+)@example.com", email)
    return int(found[1]) if found else 0


class Table:
    """One destination, as the campaign reads it: by affiliate, the versions of its rows."""

    def __init__(self, name: str, rows: Callable[[], Sequence[tuple[int, int]]]) -> None:
        self.name, self._rows = name, rows
        self._seen: dict[int, int] = {}

    def look(self) -> tuple[list[str], list[str]]:
        """What is wrong at the moment: rows with an older version than before; affiliates with several rows."""
        found: list[str] = []
        counts: Counter[int] = Counter()
        for affiliate, version in self._rows():
            counts[affiliate] += 1
            if version < self._seen.get(affiliate, 0):
                found.append(f"{self.name}: affiliate {affiliate} went from {self._seen[affiliate]} to {version}")
            self._seen[affiliate] = version
        return found, [f"{self.name}: affiliate {one} has {count} rows" for one, count in counts.items() if count > 1]

    def versions(self) -> dict[int, int]:
        return dict(self._rows())


class Sender(threading.Thread):
    """Sends the versions of its affiliates, each until it is acknowledged, to whichever machine answers."""

    def __init__(self, number: int, ports: Callable[[], Sequence[int]], seed: int, stop: threading.Event) -> None:
        super().__init__(name=f"sender {number}", daemon=True)
        first = 1 + number * _affiliates_of_a_sender
        self._versions = dict.fromkeys(range(first, first + _affiliates_of_a_sender), 0)
        self._ports, self._chance, self._ends = ports, random.Random(seed * 100 + number), stop
        self.keys: list[str] = []
        self.acknowledged: dict[int, int] = {}
        self.sent = 0

    def run(self) -> None:
        while not self._ends.is_set():
            affiliate = self._chance.choice(list(self._versions))
            self._versions[affiliate] += 1
            self._send(affiliate, self._versions[affiliate])
            self._ends.wait(self._chance.uniform(0.0, 0.03))

    def _send(self, affiliate: int, version: int) -> None:
        self.sent += 1
        while not self._ends.is_set():
            ports = self._ports()
            with suppress(OSError, http.client.HTTPException, ValueError):
                connection = http.client.HTTPConnection("127.0.0.1", self._chance.choice(ports), timeout=15)
                try:
                    path = "/hooks/firstpromoter?token=fp-t0ken-of-the-tests-7c1Zq"
                    connection.request("POST", path, _body(affiliate, version), {"content-type": "application/json"})
                    answer = connection.getresponse()
                    said = answer.read()
                finally:
                    connection.close()
                if answer.status == 202:
                    self.keys.append(json.loads(said)["event"])
                    self.acknowledged[affiliate] = version
                    return
            self._ends.wait(0.1)


class Leases:
    """Who owns what, asked of the database directly."""

    def __init__(self, url: str) -> None:
        self._url = url

    def holders(self) -> dict[str, str]:
        """The lease -> the holder's name; nothing while the database is away."""
        with suppress(psycopg.Error), psycopg.connect(self._url, connect_timeout=2) as sql:
            rows = sql.execute(
                "SELECT l.name, p.name FROM leases l JOIN processes p ON p.id = l.holder"
                " WHERE l.until >= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
            ).fetchall()
            return dict(rows)
        return {}


class Campaign:
    """See the module."""

    def __init__(
        self, folder: Path, cluster: Cluster, url: str, crm: HubSpotServer, seed: int, nursery: Nursery
    ) -> None:
        self.figures = Figures()
        self._cluster, self._url = cluster, url
        self._chance = random.Random(seed)
        self._leases = Leases(url)
        self._machines = [self._machine(folder, n, nursery, crm) for n in range(_machines)]
        self._locks = {machine.folder.name: threading.Lock() for machine in self._machines}
        self._stop, self._stop_looking = threading.Event(), threading.Event()
        self._senders = [Sender(n, self._ports, seed, self._stop) for n in range(_senders)]
        self._tables = [
            Table("csv", lambda: _csv(self._machines[0])),
            Table("hubspot", lambda: _contacts(crm)),
        ]
        self._is_asleep = False

    def _machine(self, folder: Path, number: int, nursery: Nursery, crm: HubSpotServer) -> Machine:
        machine = Machine(folder / f"m{number}", nursery, self._url, shared=folder / "affiliates.csv")
        mapping = (root / "mappings" / "hubspot_contacts.toml").read_bytes()
        (machine.folder / "mappings" / "hubspot_contacts.toml").write_bytes(mapping)
        with machine.config.open("a") as config:
            config.write(
                f'\n[sinks.crm]\ntype = "hubspot"\naccess_token = "{crm.token}"\nbase_url = "{crm.url}"\n'
                'timeout_seconds = 5\nmappings = ["mappings/hubspot_contacts.toml"]\n'
            )
        return machine

    def _ports(self) -> list[int]:
        return [port for machine in self._machines if (port := machine.port) is not None] or [1]

    # ------------------------------------------------ what dies

    def kill_one(self, *, measured: bool) -> None:
        """SIGKILL one at random, and start it again at once. The first that is *measured* owns something."""
        machine = self._chance.choice(self._machines)
        if measured and not self.figures.takeovers:
            holders = until(lambda: set(self._leases.holders().values()))
            machine = next(each for each in self._machines if each.name in holders)
        with self._locks[machine.folder.name]:
            name = f"process {machine.pid} on {socket.gethostname()}"
            owned = {lease for lease, holder in self._leases.holders().items() if holder == name}
            machine.kill()
            died = time.monotonic()
            self.figures.kills += 1
            machine.launch()
            if measured and owned:
                self._measure(owned, name, died)
            if not machine.wait_until_it_listens(30):
                # PostgreSQL may have been away when it started: a supervisor starts it again.
                self._restart(machine)

    def _restart(self, machine: Machine) -> None:
        ends = time.monotonic() + 60
        while not machine.wait_until_it_listens(15) and time.monotonic() < ends:
            machine.kill()
            machine.launch()
        if machine.port is None:
            self.figures.wrong.append(f"{machine.folder.name} does not start: {machine.lines()[-3:]}")

    def _measure(self, owned: set[str], name: str, died: float) -> None:
        missing = set(owned)
        while missing and time.monotonic() - died < 60:
            missing -= {lease for lease, holder in self._leases.holders().items() if holder != name}
            time.sleep(0.02)
        self.figures.takeovers.append(time.monotonic() - died)
        if missing:
            self.figures.wrong.append(f"nobody took over {sorted(missing)} within 60 s")

    def crash(self) -> None:
        """PostgreSQL ends without a checkpoint, and is started again."""
        self._cluster.stop(crash=True)
        self.figures.crashes += 1
        time.sleep(self._chance.uniform(0.0, 1.0))
        self._cluster.start()

    def sleep(self, seconds: float) -> None:
        """Who delivers sleeps in the middle of it, and continues much later."""
        holders = self._leases.holders()
        owners = [m for m in self._machines if f"process {m.pid} on {socket.gethostname()}" == holders.get("sink crm")]
        machine = owners[0] if owners else self._machines[0]
        self._is_asleep = True
        with self._locks[machine.folder.name]:
            os.kill(machine.pid or 0, signal.SIGSTOP)
            try:
                time.sleep(seconds)
            finally:
                os.kill(machine.pid or 0, signal.SIGCONT)
        self.figures.sleeps += 1

    # ------------------------------------------------ the course

    def run(self, kills: int, crashes: int, both: int, sleeps: int, sleep_seconds: float) -> Figures:
        began = time.monotonic()
        for machine in self._machines:
            machine.start()
        watching = threading.Thread(target=self._watch, daemon=True)
        for thread in (*self._senders, watching):
            thread.start()
        try:
            time.sleep(2)
            for _ in range(kills):
                self.kill_one(measured=True)
                time.sleep(self._chance.uniform(0.0, 0.4))
            for _ in range(crashes):
                self.crash()
                time.sleep(self._chance.uniform(0.5, 2.0))
            self._both(both)
            for _ in range(sleeps):
                self.sleep(sleep_seconds)
                time.sleep(1)
            self._end()
        finally:
            self._stop.set()
            self._stop_looking.set()
            for machine in self._machines:
                machine.kill()
        self.figures.seconds = time.monotonic() - began
        return self.figures

    def _both(self, count: int) -> None:
        def crash() -> None:
            for _ in range(count):
                self.crash()
                time.sleep(self._chance.uniform(0.5, 2.0))

        crashing = threading.Thread(target=crash, daemon=True)
        crashing.start()
        for _ in range(count):
            self.kill_one(measured=False)
            time.sleep(self._chance.uniform(0.0, 0.5))
        crashing.join()

    def _watch(self) -> None:
        while not self._stop_looking.wait(0.05):
            for table in self._tables:
                older, doubled = table.look()
                if self.figures.sleeps or self._is_asleep:
                    self.figures.late += len(older)  # nobody can call such a request back; ``_end`` sees what stays
                else:
                    doubled += older
                self.figures.wrong += [fault for fault in doubled if fault not in self.figures.wrong]

    def _end(self) -> None:
        """Let everything come to rest, and compare."""
        time.sleep(1)
        self._stop.set()
        for sender in self._senders:
            sender.join(60)
        wanted = {affiliate: version for sender in self._senders for affiliate, version in sender.acknowledged.items()}
        self._look_for_the_lost()
        ends = time.monotonic() + (0.0 if self.figures.lost else _settling_seconds)  # rows of the lost never come
        while time.monotonic() < ends and not all(_reached(table, wanted) for table in self._tables):
            time.sleep(0.2)
        self._stop_looking.set()
        self.figures.sent = sum(sender.sent for sender in self._senders)
        self.figures.acknowledged = sum(len(sender.keys) for sender in self._senders)
        for table in self._tables:
            versions = table.versions()
            for affiliate, version in wanted.items():
                if versions.get(affiliate, 0) < version:
                    have = versions.get(affiliate)
                    self.figures.wrong.append(f"{table.name}: affiliate {affiliate} has {have}, not {version}")
        for machine in self._machines:
            died = [line for line in machine.lines() if line.get("event") in ("thread.died", "projection.bug")]
            self.figures.wrong += [f"{machine.folder.name}: {line}" for line in died]

    def _look_for_the_lost(self) -> None:
        with psycopg.connect(self._url) as sql:
            kept = {key for (key,) in sql.execute("SELECT key FROM events").fetchall()}
        lost = [key for sender in self._senders for key in sender.keys if key not in kept]
        self.figures.lost = len(lost)
        self.figures.wrong += [f"acknowledged and lost: {key}" for key in lost]


def _csv(machine: Machine) -> list[tuple[int, int]]:
    if not machine.table.exists():
        return []
    import csv

    with machine.table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(int(row["Affiliate ID"].partition(":")[2]), _version(row["Email"])) for row in rows]


def _contacts(crm: HubSpotServer) -> list[tuple[int, int]]:
    contacts = [dict(contact.properties) for contact in list(crm.records["contacts"].values())]
    found = [(each.get("affiliate_key", ""), each.get("email", "")) for each in contacts]
    return [(int(key.partition(":")[2]), _version(email)) for key, email in found if key]


def _reached(table: Table, wanted: Mapping[int, int]) -> bool:
    versions = table.versions()
    return all(versions.get(affiliate, 0) >= version for affiliate, version in wanted.items())


def campaign(
    folder: Path, *, kills: int, crashes: int, both: int, sleeps: int, sleep_seconds: float, seed: int,
    asynchronous: bool = False,
) -> Figures:  # fmt: skip
    """All of it on a cluster of its own."""
    settings = ("wal_writer_delay=10s", "wal_writer_flush_after=1GB") if asynchronous else ()
    with own_cluster(*settings) as cluster, cluster.database() as url, HubSpotServer() as crm:
        nursery = Nursery(_asynchronous if asynchronous else "")
        try:
            return Campaign(folder, cluster, url, crm, seed, nursery).run(kills, crashes, both, sleeps, sleep_seconds)
        finally:
            nursery.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in full.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--sleep-seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--asynchronous", action="store_true")
    words = parser.parse_args()
    with scratch() as folder:
        figures = campaign(folder, **vars(words))
    sys.stdout.write(f"{figures}\n" + "".join(f"  {fault}\n" for fault in figures.wrong[:40]))
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
