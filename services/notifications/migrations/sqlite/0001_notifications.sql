-- What customers were told. Nothing but the inbox keeps one from being told twice.
CREATE TABLE notifications (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id       TEXT NOT NULL,
    customer_id    TEXT NOT NULL,
    text           TEXT NOT NULL,
    correlation_id TEXT NOT NULL
);

CREATE INDEX notifications_customer ON notifications (customer_id, seq);
