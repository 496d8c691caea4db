CREATE TABLE stock (
    sku       TEXT PRIMARY KEY,
    delivered INTEGER NOT NULL, -- pieces that ever came in
    available INTEGER NOT NULL, -- of these, not promised to anybody
    shipped   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- One row an order. RELEASED bars a reservation that comes too late.
CREATE TABLE reservations (
    order_id TEXT PRIMARY KEY,
    status   TEXT NOT NULL CHECK (status IN ('RESERVED', 'SHIPPED', 'RELEASED'))
) WITHOUT ROWID;

CREATE TABLE reservation_items (
    order_id TEXT NOT NULL REFERENCES reservations (order_id),
    sku      TEXT NOT NULL REFERENCES stock (sku),
    quantity INTEGER NOT NULL,
    PRIMARY KEY (order_id, sku)
) WITHOUT ROWID;
