-- Events in the order in which their transactions committed: SQLite lets one transaction write at a time.
CREATE TABLE carrick_outbox (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    stream       TEXT NOT NULL,
    stream_subjects TEXT NOT NULL,
    subject      TEXT NOT NULL,
    partition    INTEGER NOT NULL,
    key          TEXT NOT NULL,
    payload      BLOB NOT NULL,
    headers      TEXT NOT NULL,
    created_at   REAL NOT NULL,
    published_at REAL
);

CREATE INDEX carrick_outbox_unpublished ON carrick_outbox (seq) WHERE published_at IS NULL;

CREATE INDEX carrick_outbox_published ON carrick_outbox (published_at) WHERE published_at IS NOT NULL;
