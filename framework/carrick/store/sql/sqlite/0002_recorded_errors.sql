-- The google.rpc.Status of a call that was answered with an error to be repeated. At most one of reply and error is set.
ALTER TABLE carrick_idempotency ADD COLUMN error BLOB;
