-- What a keyed call was answered with. A row without a reply and an error is a claim, held until lease_until; an error
-- is the google.rpc.Status that is repeated. Moments are seconds since the epoch.
CREATE TABLE carrick_idempotency (
    method      TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    token       TEXT NOT NULL,
    lease_until DOUBLE PRECISION NOT NULL,
    reply       BYTEA,
    error       BYTEA,
    expires_at  DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (method, key)
);

CREATE INDEX carrick_idempotency_expiry ON carrick_idempotency (expires_at);

-- Which events had their effect here.
CREATE TABLE carrick_inbox (
    consumer   TEXT NOT NULL,
    event_id   TEXT NOT NULL,
    handled_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (consumer, event_id)
);

CREATE INDEX carrick_inbox_age ON carrick_inbox (handled_at);
