"""``make bench-events``: from a commit to an event that is handled, and how many of them a second."""
