"""The demo: real processes, real faults, and a count of what was lost."""
