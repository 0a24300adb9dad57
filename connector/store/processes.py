"""Which processes work on the store, and who owns what: a lease that another process takes over soon after its holder
was killed.

A lease keeps others from working in vain, and a sink from being delivered by two processes. What comes too late is
stopped elsewhere: a projection by the epoch, an answer of a destination by its token. Time is the database's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from connector.store.engine import Engine, Session, change, insert
from connector.store.model import moment
from connector.store.pending import OF_ROUTE, PendingRecords
from connector.store.tables import refuse_moved

LEASE_SECONDS = 3.0
"""A process that has given no sign of life for so long counts as dead."""
_REMEMBERED_SECONDS = 86_400.0
_OLDER_RELEASE = "worker"  # the lease of a release that knows only one, for everything


def lease_of(route: str) -> str:
    """The name of the lease of the sink that *route* belongs to."""
    return f"sink {route.partition('/')[0]}"


class Process(Struct, frozen=True):
    """A process that works on the store, or did in the last day.

    Args:
        name: ``process 12 on host``, as people know it.
        since, seen: its start, its last sign of life.
        owns: the names of its leases.
        note: what people should know of it, as it says itself; or "".
    """

    id: str
    name: str
    host: str
    roles: tuple[str, ...]
    since: datetime
    seen: datetime
    is_alive: bool
    owns: tuple[str, ...]
    note: str


class Beat(Struct, frozen=True):
    """What a process learns when it gives a sign of life.

    Args:
        mine: the leases that are this process's.
        taken: those of others that are alive.
        alive: how many processes are, this one included, by role.
    """

    mine: frozenset[str]
    taken: frozenset[str]
    alive: Mapping[str, int]


class Processes(PendingRecords):
    """One row a process, one row a lease. Where processes share a store, only what is their own is pending for them."""

    def __init__(self, engine: Engine, now: Callable[[], datetime]) -> None:
        super().__init__(engine, now)
        self._me = ""  # nobody until ``join``: then nothing is anybody's own
        self._row: tuple[str, ...] = ()

    def join(self, roles: Sequence[str], routes: Sequence[str]) -> None:
        """Be one of the processes. From now on ``take`` gives only what belongs to this process's leases.

        Args:
            routes: those that it knows; another process's ``enroll`` does not drop them while this one is alive.
        """
        host = socket.gethostname()
        self._me = f"{host} {os.getpid()} {os.urandom(6).hex()}"
        self._row = (self._me, f"process {os.getpid()} on {host}", host, " ".join(roles), "\n".join(routes))
        with self._engine.making() as sql:
            refuse_moved(self._engine, sql)  # once more: it may have been moved since it was opened
            sql.execute(f"DELETE FROM processes WHERE seen < {self._clock(-_REMEMBERED_SECONDS)}")
            self._enter(sql, "")

    def _enter(self, sql: Session, note: str) -> None:
        sql.execute(
            "INSERT INTO processes (id, name, host, roles, routes, note, since, seen)"
            f" VALUES (?, ?, ?, ?, ?, ?, {self._clock()}, {self._clock()})"
            " ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, note = excluded.note",
            (*self._row, note),
        )

    def beat(self, note: str = "") -> Beat:
        """Give a sign of life, and keep the leases that are this process's."""
        self._engine.compare_clocks()
        with self._engine.writing() as sql:
            self._enter(sql, note)  # its row may be gone: with a backup, or when nobody saw it for a day
            mine = sql.execute("SELECT name FROM leases WHERE holder = ? ORDER BY name", (self._me,)).fetchall()
            text = f"UPDATE leases SET until = {self._clock(LEASE_SECONDS)} WHERE holder = ? AND name"
            change(sql, text, [name for (name,) in mine], self._me)
        with self._engine.reading() as sql:
            live = sql.execute(f"SELECT name, holder FROM leases WHERE until >= {self._clock()}").fetchall()
            alive = sql.execute(f"SELECT roles FROM processes WHERE seen >= {self._clock(-LEASE_SECONDS)}").fetchall()
        roles = [role for (text,) in alive for role in text.split()]
        return Beat(
            frozenset(name for name, holder in live if holder == self._me),
            frozenset(name for name, holder in live if holder != self._me),
            {role: roles.count(role) for role in roles},
        )

    def acquire(self, name: str, routes: Sequence[str] = (), late_call_seconds: float = 0.0) -> bool:
        """Take the lease of that name, if nobody alive has it.

        What its last holder had taken of *routes* is due now. Where the holder died, those records are written once
        more after *late_call_seconds*: a call that it had sent may still arrive.
        """
        with self._engine.writing() as sql:
            older = f"SELECT 1 FROM leases WHERE name = '{_OLDER_RELEASE}' AND until >= {self._clock()}"
            if sql.execute(older).fetchone() is not None:
                return False
            text = f"SELECT holder FROM leases WHERE name = ?{self._engine.lock_rows}"
            before = sql.execute(text, (name,)).fetchone()
            if not self._hold(sql, name, self._me, LEASE_SECONDS):
                return False
            died = before is not None and before[0] != self._me
            for route in routes:
                self._inherit(sql, route, late_call_seconds if died else None)
        self._ring(self._on_pending)
        return True

    def _inherit(self, sql: Session, route: str, late_call_seconds: float | None) -> None:
        held = sql.execute(
            "SELECT record_id, id FROM pending WHERE route = ? AND token IS NOT NULL ORDER BY record_id", (route,)
        ).fetchall()
        if late_call_seconds is not None:
            due_at = self._due_now() + int(late_call_seconds * 1e6)
            insert(
                sql, "INSERT INTO again (route, record_id, due_at)",
                [(route, record_id, due_at) for record_id, _ in held],
                " ON CONFLICT (route, record_id) DO UPDATE SET due_at = excluded.due_at",
            )  # fmt: skip
        text = "UPDATE pending SET token = NULL, due_at = ? WHERE id"
        change(sql, text, [number for _, number in held], self._due_now())

    def hold(self, name: str, holder: str, seconds: float) -> bool:
        """Take that lease for *holder*, or keep it, for so long from now (less than nothing gives it back); False:
        another has it."""
        with self._engine.writing() as sql:
            return self._hold(sql, name, holder, seconds)

    def _hold(self, sql: Session, name: str, holder: str, seconds: float) -> bool:
        taken = sql.execute(
            f"INSERT INTO leases (name, holder, until) VALUES (?, ?, {self._clock(seconds)})"
            " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
            f" WHERE leases.until < {self._clock()} OR leases.holder = excluded.holder",
            (name, holder),
        )
        return bool(taken.rowcount == 1)

    def release(self, name: str) -> None:
        """Give a lease back: nothing that belongs to it is under way any more."""
        with self._engine.writing() as sql:
            sql.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (name, self._me))

    def leave(self) -> None:
        """Be none of the processes any more; leases that were not given back are over as a dead process's are."""
        with self._engine.writing() as sql:
            sql.execute("DELETE FROM processes WHERE id = ?", (self._me,))

    def processes(self) -> list[Process]:
        """All of them, the oldest first; those that gave their last sign of life more than a day ago are left out."""
        with self._engine.reading() as sql:
            rows = sql.execute(
                f"SELECT id, name, host, roles, since, seen, note, seen >= {self._clock(-LEASE_SECONDS)}"
                f" FROM processes WHERE seen >= {self._clock(-_REMEMBERED_SECONDS)} ORDER BY since, id"
            ).fetchall()
            leases = sql.execute("SELECT name, holder FROM leases ORDER BY name").fetchall()
        return [
            Process(
                key, name, host, tuple(roles.split()), moment(since), moment(seen), bool(is_alive),
                tuple(lease for lease, holder in leases if holder == key and is_alive), note,
            )
            for key, name, host, roles, since, seen, note, is_alive in rows
        ]  # fmt: skip

    def repeat_late(self, routes: Sequence[str]) -> int:
        """Those of *routes* whose former holder died, and whose late call must have arrived by now, are pending again,
        and are written in full; how many."""
        count = 0
        with self._engine.writing() as sql:
            for route in routes:
                late = sql.execute(
                    "SELECT record_id FROM again WHERE route = ? AND due_at <= ? ORDER BY record_id",
                    (route, self._due_now()),
                ).fetchall()
                some = [record_id for (record_id,) in late]
                change(sql, f"UPDATE written SET again = 1 WHERE {OF_ROUTE} AND record_id", some, route)
                count += self._enqueue(sql, route, some)
                change(sql, "DELETE FROM again WHERE route = ? AND record_id", some, route)
        if count:
            self._ring(self._on_pending)
        return count

    def _known_to_others(self, sql: Session) -> set[str]:
        """The routes that other processes which are alive know."""
        rows = sql.execute(
            f"SELECT routes FROM processes WHERE id <> ? AND seen >= {self._clock(-LEASE_SECONDS)}", (self._me,)
        ).fetchall()
        return {route for (routes,) in rows for route in routes.split("\n")}

    def _may_take(self, sql: Session, route: str) -> bool:
        # Locked, so that who takes the lease over also gets what is taken now.
        text = f"SELECT 1 FROM leases WHERE name = ? AND holder = ?{self._engine.lock_rows}"
        return not self._me or sql.execute(text, (lease_of(route), self._me)).fetchone() is not None

    def _clock(self, seconds: float = 0.0) -> str:
        return f"({self._engine.clock} + {int(seconds * 1e6)})"


def process_alive(engine: Engine, sql: Session) -> str | None:
    """The name of a process that works on the database, the oldest one; None: none does."""
    if ("processes",) not in sql.execute(engine.catalog).fetchall():
        return None
    text = f"SELECT name FROM processes WHERE seen >= {engine.clock} - ? ORDER BY since LIMIT 1"
    row = sql.execute(text, (int(LEASE_SECONDS * 1e6),)).fetchone()
    return None if row is None else str(row[0])
