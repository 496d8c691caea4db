"""What can stand in front of a call: one policy a module, each a pure state and a thin filter around it."""
