CREATE TABLE orders (
    id             TEXT PRIMARY KEY,
    key            TEXT NOT NULL UNIQUE,
    correlation_id TEXT NOT NULL,
    customer_id    TEXT NOT NULL,
    total          INTEGER NOT NULL,
    status         TEXT NOT NULL CHECK (status IN ('PENDING', 'PLACED', 'REFUSED')),
    reason         TEXT NOT NULL DEFAULT '',
    reserve_key    TEXT NOT NULL,
    charge_key     TEXT NOT NULL,
    created_at     REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0)
);

CREATE INDEX orders_pending ON orders (created_at) WHERE status = 'PENDING';

CREATE TABLE order_lines (
    order_id   TEXT NOT NULL REFERENCES orders (id),
    position   INTEGER NOT NULL,
    sku        TEXT NOT NULL,
    quantity   INTEGER NOT NULL,
    unit_price INTEGER NOT NULL,
    PRIMARY KEY (order_id, position)
) WITHOUT ROWID;

-- What a refused order may have taken and has to be given back. Worked off until done.
CREATE TABLE compensations (
    order_id TEXT PRIMARY KEY REFERENCES orders (id),
    done     INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX compensations_open ON compensations (order_id) WHERE done = 0;
