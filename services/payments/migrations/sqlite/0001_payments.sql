-- One row a charge. Nothing but the idempotency key keeps an order from being charged twice.
CREATE TABLE charges (
    id          TEXT PRIMARY KEY,
    order_id    TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    amount      INTEGER NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('CAPTURED', 'REFUNDED'))
);

CREATE INDEX charges_order ON charges (order_id);

-- Orders that were refunded: a charge that comes too late is refused.
CREATE TABLE refunded_orders (
    order_id TEXT PRIMARY KEY
) WITHOUT ROWID;
