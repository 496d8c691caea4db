-- Events. Those of one key are in the order in which their transactions committed: the writer holds a lock on the key,
-- from before its number is drawn until the end of its transaction.
-- An event is pending until published_at or refused_at is set, and waits for its time while due_at is. One that is
-- given up has published_at and a refusal: it expired, or, with refused_at, somebody dropped it from quarantine.
-- Each index costs every writer: there is none on seq that a new event and a published one have both a place in.
CREATE SEQUENCE carrick_outbox_seq;

CREATE TABLE carrick_outbox (
    seq             BIGINT NOT NULL DEFAULT nextval('carrick_outbox_seq'),
    id              TEXT PRIMARY KEY,
    stream          TEXT NOT NULL,
    stream_subjects TEXT NOT NULL,
    subject         TEXT NOT NULL,
    partition       SMALLINT NOT NULL,
    key             TEXT NOT NULL,
    payload         BYTEA NOT NULL,
    headers         TEXT NOT NULL,
    unordered       BOOLEAN NOT NULL DEFAULT FALSE,
    created_at      DOUBLE PRECISION NOT NULL,
    due_at          DOUBLE PRECISION,
    expires_at      DOUBLE PRECISION,
    published_at    DOUBLE PRECISION,
    refused_at      DOUBLE PRECISION,
    refusal         TEXT
) WITH (
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 1
);

ALTER SEQUENCE carrick_outbox_seq OWNED BY carrick_outbox.seq;

CREATE INDEX carrick_outbox_pending ON carrick_outbox (seq) INCLUDE (partition)
    WHERE published_at IS NULL AND refused_at IS NULL AND due_at IS NULL;

CREATE INDEX carrick_outbox_due ON carrick_outbox (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX carrick_outbox_refused ON carrick_outbox (partition, key, seq)
    WHERE refused_at IS NOT NULL AND published_at IS NULL;

CREATE INDEX carrick_outbox_published ON carrick_outbox (published_at) WHERE published_at IS NOT NULL;

CREATE INDEX carrick_outbox_order ON carrick_outbox (seq) WHERE published_at IS NOT NULL;

-- Which relay publishes a partition, for how long from its last sign of life, hence until when. The epoch counts how
-- often that has changed.
CREATE TABLE carrick_outbox_lease (
    partition SMALLINT PRIMARY KEY,
    owner     TEXT NOT NULL DEFAULT '',
    epoch     BIGINT NOT NULL DEFAULT 0,
    ttl       DOUBLE PRECISION NOT NULL DEFAULT 0,
    until     DOUBLE PRECISION NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

INSERT INTO carrick_outbox_lease (partition) SELECT n FROM generate_series(0, 15) AS n;

-- The relays that are there, whether they hold a partition or not.
CREATE TABLE carrick_outbox_relay (
    owner TEXT PRIMARY KEY,
    name  TEXT NOT NULL,
    ttl   DOUBLE PRECISION NOT NULL,
    until DOUBLE PRECISION NOT NULL
);

-- How far a subject's messages in the stream are known here: each one up to this sequence has been marked.
CREATE TABLE carrick_outbox_position (
    stream   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (stream, subject)
) WITH (fillfactor = 50);
