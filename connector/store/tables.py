"""The tables, and whether a database has them in this version's format."""

from __future__ import annotations

import secrets
from datetime import datetime

from connector.store.engine import Engine, Session
from connector.store.model import StoreDamaged

_FORMAT = 1

CLOCK_TRUSTED = ("connector", "clock believed")
"""Owner and key of the note that says which moment retention last went by; a new store has the moment it was made."""
FORGOTTEN_KEY = ("connector", "key of the forgotten")

# events: append only; a row is taken away by retention and by ``forget``.
# todo: the events that are not projected yet. A cursor would pass over an event whose number is lower than the last
#   one's and whose transaction commits later.
# forgotten: keyed hashes of (source, key) of events that ``forget`` took away.
# pending: a lease is a token and a due_at in the future.
# written: the cells that a route has written, by the row's key. deliveries: what ``explain`` shows.
# Indexes of what is looked up by many values at once begin with these: behind the route, of which PostgreSQL does not
#   know how many rows it has, it may read all of the route's rows instead.
_TABLES = """
CREATE TABLE events (
    seq {serial}, source TEXT NOT NULL, key TEXT NOT NULL, topic TEXT NOT NULL, at BIGINT NOT NULL,
    received_at BIGINT NOT NULL, body {blob} NOT NULL, UNIQUE (source, key)
);
CREATE INDEX events_by_arrival ON events (received_at);
CREATE TABLE todo (seq BIGINT PRIMARY KEY){without_rowid};
CREATE TABLE forgotten (mark {blob} PRIMARY KEY, at BIGINT NOT NULL){without_rowid};
CREATE TABLE records (id TEXT PRIMARY KEY, version BIGINT NOT NULL, facts TEXT NOT NULL);
CREATE TABLE mentions (seq BIGINT NOT NULL, record_id TEXT NOT NULL, PRIMARY KEY (seq, record_id)){without_rowid};
CREATE TABLE sources (
    source TEXT PRIMARY KEY, received BIGINT NOT NULL, duplicates BIGINT NOT NULL, no_affiliate BIGINT NOT NULL,
    unreadable BIGINT NOT NULL, undated BIGINT NOT NULL, last_at BIGINT NOT NULL, last_received_at BIGINT NOT NULL
);
CREATE TABLE routes (
    route TEXT PRIMARY KEY, kind TEXT NOT NULL DEFAULT 'ok', reason TEXT NOT NULL DEFAULT '', paused_until BIGINT,
    failures BIGINT NOT NULL DEFAULT 0, since BIGINT, delivered_at BIGINT
);
CREATE TABLE pending (
    id {serial}, route TEXT NOT NULL, record_id TEXT NOT NULL, version BIGINT NOT NULL, due_at BIGINT NOT NULL,
    since BIGINT NOT NULL, token TEXT, tries BIGINT NOT NULL DEFAULT 0, failing_since BIGINT,
    reason TEXT NOT NULL DEFAULT '', isolated BIGINT NOT NULL DEFAULT 0, UNIQUE (route, record_id)
);
CREATE INDEX pending_due ON pending (route, isolated, due_at);
CREATE TABLE written (
    route TEXT NOT NULL, key TEXT NOT NULL, record_id TEXT NOT NULL, version BIGINT NOT NULL, at BIGINT NOT NULL,
    cells TEXT NOT NULL, PRIMARY KEY (key, route)
){without_rowid};
CREATE INDEX written_by_record ON written (record_id, route);
CREATE TABLE deliveries (
    id {serial}, route TEXT NOT NULL, record_id TEXT NOT NULL, key TEXT NOT NULL, version BIGINT NOT NULL,
    at BIGINT NOT NULL, kind TEXT NOT NULL, code TEXT NOT NULL, cells TEXT NOT NULL
);
CREATE INDEX deliveries_by_time ON deliveries (at);
CREATE TABLE notes (
    owner TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key)
){without_rowid};
CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until BIGINT NOT NULL);
CREATE TABLE state (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
"""


def prepare(engine: Engine, now: datetime) -> None:
    """Make the tables where there are none.

    Raises:
        StoreDamaged: the tables are a newer version's, or not ours.
    """
    with engine.reading() as sql:
        if _is_made(engine, sql):
            return
    with engine.making() as sql:
        if not _is_made(engine, sql):
            _make(engine, sql, now)


def _is_made(engine: Engine, sql: Session) -> bool:
    tables = {name for (name,) in sql.execute(engine.catalog).fetchall()}
    if not tables & {"state", "events", "records"}:
        return False
    row = None
    if {"state", "events", "todo"} <= tables:
        row = sql.execute("SELECT value FROM state WHERE name = 'format'").fetchone()
    if row is None:
        raise StoreDamaged(f"{engine.name}: has tables of another program; give the connector a database of its own")
    if row[0] > _FORMAT:
        raise StoreDamaged(f"{engine.name}: made by a newer version of the connector (format {row[0]})")
    return True


def _make(engine: Engine, sql: Session, now: datetime) -> None:
    text = _TABLES.format(serial=engine.serial, blob=engine.blob, without_rowid=engine.without_rowid)
    for statement in text.split(";\n"):
        if statement.strip():
            sql.execute(statement)
    sql.execute("INSERT INTO state VALUES ('format', ?), ('epoch', 0)", (_FORMAT,))
    for note, value in ((CLOCK_TRUSTED, now.isoformat()), (FORGOTTEN_KEY, secrets.token_hex(32))):
        sql.execute("INSERT INTO notes VALUES (?, ?, ?)", (*note, value))
