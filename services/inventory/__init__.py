"""Inventory: knows what is on the shelves and whom it is promised to."""
