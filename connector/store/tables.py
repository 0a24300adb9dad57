"""The tables, and whether a database has them in this version's format.

A format only adds to the one before, so a process of the older version may run on while a newer one starts beside it.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime

from connector.core import findable
from connector.store.engine import Engine, Session
from connector.store.model import StoreDamaged

CLOCK_TRUSTED = ("connector", "clock believed")
"""Owner and key of the note that says which moment retention last went by; a new store has the moment it was made."""
FORGOTTEN_KEY = ("connector", "key of the forgotten")
MOVED_TO = ("connector", "moved to")
SEARCH_NOTE, SEARCH_DONE = ("connector", "words of"), f"all, version {findable.VERSION}"
"""The note of a store that has the words of all its records."""

# events: append only; a row is taken away by retention and by ``forget``.
# todo: the events that are not projected yet. A cursor would pass over an event whose number is lower than the last
#   one's and whose transaction commits later.
# forgotten: keyed hashes of (source, key) of events that ``forget`` took away.
# pending: a lease is a token and a due_at in the future.
# written: the cells that a route has written, by the row's key. deliveries: what ``explain`` shows.
# Indexes of what is looked up by many values at once begin with these: behind the route, of which PostgreSQL does not
#   know how many rows it has, it may read all of the route's rows instead.
_FORMAT_1 = """
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


# Added to format 1: tables, and columns with a default; statements of the older version must still work.
# search: the words by which a record is found, as bytes, which every database keeps in the same order.
# left_empty: how many cells of a record are empty in a route because their values do not fit; refused: the names of
#   those whose value the destination did not take when the record was written last.
# hours: what came in by source and hour of Unix time. sessions: hashes of the cookies of who is signed in to the page.
# again: records that are written once more at that moment, since a dead process's call may arrive late.
_FORMAT_2 = """
CREATE TABLE search (word {blob} NOT NULL, record_id TEXT NOT NULL, PRIMARY KEY (word, record_id)){without_rowid};
CREATE INDEX mentions_by_record ON mentions (record_id, seq);
CREATE INDEX deliveries_by_record ON deliveries (record_id, id);
CREATE TABLE hours (
    source TEXT NOT NULL, hour BIGINT NOT NULL, received BIGINT NOT NULL, duplicates BIGINT NOT NULL,
    refused BIGINT NOT NULL, PRIMARY KEY (source, hour)
){without_rowid};
CREATE TABLE sessions (
    id {blob} PRIMARY KEY, who TEXT NOT NULL, role TEXT NOT NULL, proof TEXT NOT NULL, until BIGINT NOT NULL
){without_rowid};
CREATE TABLE letters (
    id TEXT PRIMARY KEY, stage TEXT NOT NULL, place TEXT NOT NULL, subject TEXT NOT NULL, letter TEXT NOT NULL
);
CREATE INDEX letters_by_subject ON letters (subject, place);
CREATE TABLE processes (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, host TEXT NOT NULL, roles TEXT NOT NULL, routes TEXT NOT NULL,
    since BIGINT NOT NULL, seen BIGINT NOT NULL, note TEXT NOT NULL DEFAULT ''
);
CREATE TABLE again (
    route TEXT NOT NULL, record_id TEXT NOT NULL, due_at BIGINT NOT NULL, PRIMARY KEY (route, record_id)
){without_rowid};
ALTER TABLE written ADD COLUMN held TEXT NOT NULL DEFAULT '';
ALTER TABLE written ADD COLUMN tried TEXT NOT NULL DEFAULT '';
ALTER TABLE written ADD COLUMN typed TEXT NOT NULL DEFAULT '';
ALTER TABLE written ADD COLUMN kept TEXT NOT NULL DEFAULT '';
ALTER TABLE written ADD COLUMN again BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN former TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN overwritten TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN overwritten_cells BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN delivery TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN row_change TEXT NOT NULL DEFAULT '';
CREATE INDEX deliveries_overwritten ON deliveries (route, at, overwritten_cells) WHERE overwritten_cells > 0;
CREATE TABLE left_empty (
    record_id TEXT NOT NULL, route TEXT NOT NULL, cells BIGINT NOT NULL, refused TEXT NOT NULL,
    PRIMARY KEY (record_id, route)
){without_rowid};
CREATE TABLE mappings (
    route TEXT PRIMARY KEY, digest TEXT NOT NULL DEFAULT '', text TEXT NOT NULL DEFAULT '',
    at BIGINT NOT NULL DEFAULT 0, wanted TEXT NOT NULL DEFAULT '', held TEXT NOT NULL DEFAULT '',
    plan TEXT NOT NULL DEFAULT '', undo TEXT NOT NULL DEFAULT '', mistake TEXT NOT NULL DEFAULT '',
    delivery TEXT NOT NULL DEFAULT '', first TEXT NOT NULL DEFAULT ''
);
"""

# Counters, so that nobody counts the large tables: of the rows of ``written``, and of the records that have one.
# ``state`` has the number of records.
_FORMAT_3 = """
ALTER TABLE routes ADD COLUMN written_rows BIGINT NOT NULL DEFAULT 0;
ALTER TABLE routes ADD COLUMN affiliates BIGINT NOT NULL DEFAULT 0;
"""

_FORMATS = (_FORMAT_1, _FORMAT_2, _FORMAT_3)
FORMAT = len(_FORMATS)


def prepare(engine: Engine, now: datetime, *, moves: bool = False) -> None:
    """Make the tables where there are none, and add to those of an older format what this version has more.

    Args:
        moves: for ``moving.py``: also a store that was moved, or into which one is being moved.

    Raises:
        StoreDamaged: the tables are a newer version's, not ours, or no store's that may be worked on.
    """
    _make(engine, now)
    if not moves:
        with engine.reading() as sql:
            refuse_moved(engine, sql)


def refuse_moved(engine: Engine, sql: Session) -> None:
    """A StoreDamaged for a store that was moved, or into which one is being moved."""
    marked = {name for (name,) in sql.execute("SELECT name FROM state WHERE name IN ('moved', 'moving')").fetchall()}
    if "moved" in marked:
        raise StoreDamaged(
            f"{engine.name}: this store was moved to {note_of(sql, MOVED_TO) or 'another place'}, and is left as it"
            " was then; set [store] url to that place"
        )
    if "moving" in marked:
        raise StoreDamaged(f"{engine.name}: a move into it did not end; run `connector move-store` once more")


def keep_note(sql: Session, note: tuple[str, str], value: str) -> None:
    """Keep *value* under (owner, key)."""
    sql.execute(
        "INSERT INTO notes (owner, key, value) VALUES (?, ?, ?)"
        " ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value",
        (*note, value),
    )


def note_of(sql: Session, note: tuple[str, str]) -> str | None:
    """What ``keep_note`` kept last."""
    row = sql.execute("SELECT value FROM notes WHERE owner = ? AND key = ?", note).fetchone()
    return None if row is None else str(row[0])


def primary_keys() -> dict[str, tuple[str, ...]]:
    """The primary key of each table of this version."""
    keys: dict[str, tuple[str, ...]] = {}
    table = r"CREATE TABLE (\w+) \((.*?)\n?\)(?:\{without_rowid\})?;\n"
    for name, body in re.findall(table, "".join(_FORMATS), re.DOTALL):
        many = re.search(r"(?<!\w )PRIMARY KEY \(([^)]*)\)", body)
        one = re.search(r"(\w+) (?:\{serial\}|(?:\w+|\{blob\}) PRIMARY KEY)", body)
        keys[name] = tuple(many[1].split(", ")) if many else (one[1],) if one else ()
    return keys


def _make(engine: Engine, now: datetime) -> None:
    with engine.reading() as sql:
        if _format_of(engine, sql) == FORMAT:
            return
    with engine.making() as sql:
        found = _format_of(engine, sql)  # another process may have made them meanwhile
        for text in _FORMATS[found:]:
            _run(engine, sql, text)
        if not found:
            _begin(sql, now)
        count_anew(engine, sql)
        sql.execute("UPDATE state SET value = ? WHERE name = 'format'", (FORMAT,))


def count_anew(engine: Engine, sql: Session) -> None:
    """Set the counters to what there is."""
    routes = lock_routes(engine, sql)
    sql.execute("INSERT INTO state VALUES ('records', 0) ON CONFLICT DO NOTHING")
    sql.execute(f"SELECT value FROM state WHERE name = 'records'{engine.lock_rows}")
    sql.execute("UPDATE state SET value = (SELECT count(*) FROM records) WHERE name = 'records'")
    # Grouped by the index's own order first: nothing is sorted, and no set of all records is made.
    written = sql.execute(
        "SELECT route, sum(one.many), count(*) FROM (SELECT route, record_id, count(*) AS many FROM written"
        " GROUP BY record_id, route) AS one GROUP BY route"
    ).fetchall()
    counted = {route: (int(rows), affiliates) for route, rows, affiliates in written}
    for route in routes:
        values = (*counted.get(route, (0, 0)), route)
        sql.execute("UPDATE routes SET written_rows = ?, affiliates = ? WHERE route = ?", values)


def lock_routes(engine: Engine, sql: Session) -> list[str]:
    """Every route; until the transaction ends, nobody else changes what one of them has written. Whoever changes it
    takes this lock before others."""
    return [route for (route,) in sql.execute(f"SELECT route FROM routes ORDER BY route{engine.lock_rows}").fetchall()]


def _format_of(engine: Engine, sql: Session) -> int:
    """The format of the tables that there are; 0: there are none."""
    tables = {name for (name,) in sql.execute(engine.catalog).fetchall()}
    if not tables & {"state", "events", "records"}:
        return 0
    row = None
    if {"state", "events", "todo"} <= tables:
        row = sql.execute("SELECT value FROM state WHERE name = 'format'").fetchone()
    if row is None:
        raise StoreDamaged(f"{engine.name}: has tables of another program; give the connector a database of its own")
    if row[0] > FORMAT:
        raise StoreDamaged(
            f"{engine.name}: made by a newer version of the connector (format {row[0]}; this one reads {FORMAT}); "
            "install that version again"
        )
    return int(row[0])


def _run(engine: Engine, sql: Session, text: str) -> None:
    filled = text.format(serial=engine.serial, blob=engine.blob, without_rowid=engine.without_rowid)
    for statement in filled.split(";\n"):
        if statement.strip():
            sql.execute(statement)


def _begin(sql: Session, now: datetime) -> None:
    sql.execute("INSERT INTO state VALUES ('format', ?), ('epoch', 0)", (FORMAT,))
    notes = ((CLOCK_TRUSTED, now.isoformat()), (FORGOTTEN_KEY, secrets.token_hex(32)), (SEARCH_NOTE, SEARCH_DONE))
    for note, value in notes:
        keep_note(sql, note, value)
