"""Where commands are told of their database."""

__all__ = ["VARIABLES"]

VARIABLES = ("CARRICK_DATABASE_URL", "CARRICK_DATABASE")
