"""``make demo-burst``: senders never wait for consumers."""
