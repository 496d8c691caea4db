"""Older versions of what Carrick talks to, fetched by ``make setup`` into a place of their own."""

from pathlib import Path

__all__ = ["NATS_SERVER"]

NATS_SERVER = Path(__file__).resolve().parents[2] / "build" / "older" / "bin" / "nats-server"
"""NATS 2.11, which knows no atomic batches and says nothing when it is sent one."""
