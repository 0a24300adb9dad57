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
