"""Fixtures of the framework's own tests: those that users get."""

pytest_plugins = ["carrick.testing.fixtures"]
