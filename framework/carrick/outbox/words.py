"""Conditions that several statements of the outbox have in common, for :meth:`carrick.store.dialect.Sql.template`."""

__all__ = ["GENUINE", "IS_PENDING", "IS_REFUSED"]

IS_PENDING = "published_at IS NULL AND refused_at IS NULL AND due_at IS NULL"
"""What holds of an event that is to be published now. An index has these words, and is found by them only."""

IS_REFUSED = "refused_at IS NOT NULL AND published_at IS NULL"
"""What holds of an event in quarantine."""

GENUINE = "until > {now} AND until <= {now} + 2 * ttl"
"""What holds of a lease, or a relay's sign of life, that counts. One that would last longer than twice the time that it
was given for is from before the database's clock was set back: whoever left it may be gone, and nobody waits for it."""
