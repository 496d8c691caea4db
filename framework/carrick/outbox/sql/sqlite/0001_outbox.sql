-- Events, in the order in which their transactions committed: SQLite lets one transaction write at a time.
-- One is pending until published_at or refused_at is set, and waits for its time while due_at is. One that is given up
-- has published_at and a refusal: it expired, or, with refused_at, somebody dropped it from quarantine.
CREATE TABLE carrick_outbox (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    stream          TEXT NOT NULL,
    stream_subjects TEXT NOT NULL,
    subject         TEXT NOT NULL,
    partition       INTEGER NOT NULL,
    key             TEXT NOT NULL,
    payload         BLOB NOT NULL,
    headers         TEXT NOT NULL,
    unordered       INTEGER NOT NULL DEFAULT 0,
    created_at      REAL NOT NULL,
    due_at          REAL,
    expires_at      REAL,
    published_at    REAL,
    refused_at      REAL,
    refusal         TEXT
);

CREATE INDEX carrick_outbox_pending ON carrick_outbox (seq, partition)
    WHERE published_at IS NULL AND refused_at IS NULL AND due_at IS NULL;

CREATE INDEX carrick_outbox_due ON carrick_outbox (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX carrick_outbox_refused ON carrick_outbox (partition, key, seq)
    WHERE refused_at IS NOT NULL AND published_at IS NULL;

CREATE INDEX carrick_outbox_published ON carrick_outbox (published_at) WHERE published_at IS NOT NULL;

-- Which relay publishes a partition, for how long from its last sign of life, hence until when. The epoch counts how
-- often that has changed.
CREATE TABLE carrick_outbox_lease (
    partition INTEGER PRIMARY KEY,
    owner     TEXT NOT NULL DEFAULT '',
    epoch     INTEGER NOT NULL DEFAULT 0,
    ttl       REAL NOT NULL DEFAULT 0,
    until     REAL NOT NULL DEFAULT 0
);

WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 15)
INSERT INTO carrick_outbox_lease (partition) SELECT n FROM numbers;

-- The relays that are there, whether they hold a partition or not.
CREATE TABLE carrick_outbox_relay (
    owner TEXT PRIMARY KEY,
    name  TEXT NOT NULL,
    ttl   REAL NOT NULL,
    until REAL NOT NULL
) WITHOUT ROWID;

-- How far a subject's messages in the stream are known here: each one up to this sequence has been marked.
CREATE TABLE carrick_outbox_position (
    stream   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (stream, subject)
) WITHOUT ROWID;
