"""``carrick outbox status``."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict

import typer

from carrick.cli.options import AsJson, DatabaseUrl, quiet
from carrick.cli.outbox.database import outbox_at
from carrick.outbox.status import OutboxStatus
from carrick.outbox.status import status as status_of

__all__ = ["status"]


def status(database: DatabaseUrl, as_json: AsJson = False) -> None:
    """Show what waits in the outbox, for what, and which relay is to publish it.

    Only reads. `blocked` are among the pending: they stand behind a
    quarantined event of their key. A partition without relay is published by
    nobody: run the service, or `carrick outbox relay`.

    Exit status: 0 when the outbox could be read, however it is doing, 1 when
    it could not, 2 when an option is wrong.

    Examples:
      carrick outbox status --database orders.db
      carrick outbox status --json | jq .oldest_pending_seconds

    """
    quiet()
    found = asyncio.run(_status(database))
    typer.echo(json.dumps(asdict(found), indent=2) if as_json else "\n".join(_lines(found)))


async def _status(url: str) -> OutboxStatus:
    async with outbox_at(url) as database, database.read() as tx:
        return await status_of(tx)


def _lines(found: OutboxStatus) -> Iterator[str]:
    oldest = found.oldest_pending_seconds
    yield f"pending      {found.pending:>9}" + ("" if oldest is None else f"   the oldest for {oldest:.1f} s")
    yield f"waiting      {found.waiting:>9}   for their time"
    yield f"quarantined  {found.quarantined:>9}"
    yield f"blocked      {found.blocked:>9}   of the pending, behind quarantined ones"
    yield f"published    {found.published:>9}   and kept; {found.published_per_second:.1f}/s over the last minute"
    yield f"given up     {found.given_up:>9}   dropped or expired, and kept"
    yield ""
    yield f"relays: {len(found.relays) or 'none'}"
    for relay in found.relays:
        yield f"  {relay.name}  {relay.partitions} partitions, to be heard of within {relay.seconds:.1f} s"
    yield ""
    width = max(5, *(len(each.relay or "") for each in found.partitions))
    yield f"partition  depth    oldest  {'relay':<{width}}  epoch  lease"
    for each in found.partitions:
        age = "-" if each.oldest_seconds is None else f"{each.oldest_seconds:.1f} s"
        lease = "-" if each.lease_seconds is None else f"{each.lease_seconds:.1f} s"
        relay_name = f"{each.relay or '-':<{width}}"
        yield f"p{each.partition:02d}    {each.depth:>9}  {age:>8}  {relay_name}  {each.epoch:>5}  {lease}"
    if found.positions:
        yield ""
        yield "known of the streams, up to"
        for position in found.positions:
            yield f"  {position.stream}  {position.subject}  {position.sequence}"
