-- What a keyed call was answered with. A row without a reply is a claim, held until lease_until.
CREATE TABLE carrick_idempotency (
    method      TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    token       TEXT NOT NULL,
    lease_until REAL NOT NULL,
    reply       BLOB,
    expires_at  REAL NOT NULL,
    PRIMARY KEY (method, key)
);

CREATE INDEX carrick_idempotency_expiry ON carrick_idempotency (expires_at);

-- Which events had their effect here.
CREATE TABLE carrick_inbox (
    consumer   TEXT NOT NULL,
    event_id   TEXT NOT NULL,
    handled_at REAL NOT NULL,
    PRIMARY KEY (consumer, event_id)
) WITHOUT ROWID;

CREATE INDEX carrick_inbox_age ON carrick_inbox (handled_at);
