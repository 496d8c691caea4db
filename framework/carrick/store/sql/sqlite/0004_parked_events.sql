-- Who consumes a partition: the epoch goes up with each new owner, and an older one may park and commit nothing any more.
-- Everything up to settled_to is settled, in the stream that was made at made_at (seconds since the epoch).
CREATE TABLE carrick_partition (
    consumer   TEXT NOT NULL,
    stream     TEXT NOT NULL,
    partition  INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    settled_to INTEGER NOT NULL DEFAULT 0,
    made_at    REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (consumer, stream, partition)
);

-- Events whose handling failed, and those of their keys that came after them. The first of a key is due at due_at; one
-- with held_at is a dead letter that the others of its key wait behind. Moments are seconds since the epoch.
CREATE TABLE carrick_parked (
    consumer  TEXT NOT NULL,
    stream    TEXT NOT NULL,
    partition INTEGER NOT NULL,
    key       TEXT NOT NULL,
    sequence  INTEGER NOT NULL,
    event_id  TEXT NOT NULL,
    subject   TEXT NOT NULL,
    headers   TEXT NOT NULL,
    data      BLOB NOT NULL,
    stored_at REAL NOT NULL,
    attempts  INTEGER NOT NULL,
    failures  INTEGER NOT NULL,
    due_at    REAL,
    held_at   REAL,
    reason    TEXT NOT NULL,
    PRIMARY KEY (consumer, stream, partition, key, sequence)
);

CREATE INDEX carrick_parked_due ON carrick_parked (consumer, stream, partition, due_at) WHERE due_at IS NOT NULL;
