"""The same batches without any guarantee: read, send as an atomic batch, mark. Nobody shares, nobody checks."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import nats

from carrick.ids import unique_id
from carrick.outbox.words import IS_PENDING

__all__ = ["drain_postgres", "drain_sqlite"]

_BATCH = 1000
_READ = f"""
    SELECT seq, id, subject, payload, headers FROM carrick_outbox WHERE {IS_PENDING} ORDER BY seq LIMIT {_BATCH}
"""
_MARK = f"UPDATE carrick_outbox SET published_at = 1 WHERE {IS_PENDING} AND seq"


async def drain_sqlite(path: Path, url: str) -> int:
    """Publish what there is; return how many."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = FULL")
    client = await nats.connect(url)
    done = 0
    while rows := connection.execute(_READ).fetchall():
        await _send(client, rows)
        seqs = json.dumps([row[0] for row in rows])
        connection.execute(f"{_MARK} IN (SELECT value FROM json_each(?))", (seqs,))
        connection.commit()
        done += len(rows)
    await client.close()
    connection.close()
    return done


async def drain_postgres(dsn: str, url: str) -> int:
    """Publish what there is; return how many."""
    connection = await asyncpg.connect(dsn)
    client = await nats.connect(url)
    done = 0
    while rows := await connection.fetch(_READ):
        await _send(client, rows)
        await connection.execute(f"{_MARK} = ANY($1)", [row[0] for row in rows])
        done += len(rows)
    await client.close()
    await connection.close()
    return done


async def _send(client: Any, rows: Sequence[Any]) -> None:
    batch = unique_id()
    for number, (_, event_id, subject, payload, headers) in enumerate(rows, start=1):
        own = {
            **json.loads(headers),
            "Nats-Msg-Id": event_id,
            "Nats-Batch-Id": batch,
            "Nats-Batch-Sequence": str(number),
        }
        if number < len(rows):
            await client.publish(subject, payload, headers=own)
        else:
            own["Nats-Batch-Commit"] = "1"
            answer = json.loads((await client.request(subject, payload, headers=own, timeout=30)).data)
    assert answer["count"] == len(rows), answer
