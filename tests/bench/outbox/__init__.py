"""``make bench-outbox``: the relay, and what writing an event costs."""
