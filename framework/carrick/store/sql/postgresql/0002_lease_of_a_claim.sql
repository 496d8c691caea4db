-- For how many seconds a claim was made or renewed. One that would last longer than twice that is from before the clock
-- was set back. Code that does not know the column makes claims that end by lease_until alone.
ALTER TABLE carrick_idempotency ADD COLUMN lease DOUBLE PRECISION NOT NULL DEFAULT 1e9;
