"""After a broker's disaster: which published events are no longer in their streams, and publishing those again.

Events are marked as published after the broker's word, and kept for the relay's retention. What a stream has lost is
what was marked before the comparison began and is not in the stream now. Those events are marked as not published, all
of a partition in one transaction, so that a relay that runs meanwhile publishes them in their order, and before what is
still waiting; with them goes what was known of their subjects' places. Only what was marked before the comparison began
is touched, so that neither a relay nor another comparison is in the way.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from carrick.errors import ConfigurationError
from carrick.messaging.contract import Broker, Holding
from carrick.outbox import table
from carrick.store.transaction import Database

__all__ = ["Comparison", "Lost", "Progress", "StreamComparison", "SubjectComparison"]

_PAGE = 1000
_READ = 10_000  # ids read of a stream at a time
_CACHE_KIB = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An event that is not in its stream."""

    id: str
    published_at: float
    """Seconds since the epoch, by the database's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectComparison:
    """What was found of one subject."""

    stream: str
    subject: str
    published: int = 0
    """Events marked as published that were looked for."""
    missing: int = 0
    """Those that are not in the stream, without what it removed by itself."""
    removed: int = 0
    """Those that the stream seems to have removed by itself."""
    first: Lost | None = None
    """The first and the last of the missing ones."""
    last: Lost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamComparison:
    """What was found of one stream."""

    stream: str
    there: bool
    """Whether there is a stream of that name."""
    removes: str | None
    """What it removes by itself, in words, or None when it keeps everything."""
    subjects: tuple[SubjectComparison, ...]

    @property
    def missing(self) -> int:
        """Events that are to be published again."""
        return sum(each.missing for each in self.subjects)

    @property
    def removed(self) -> int:
        """Events that the stream seems to have removed by itself."""
        return sum(each.removed for each in self.subjects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a comparison is: messages read of the stream, or events looked for."""

    stream: str
    doing: str
    done: int


class Comparison:
    """Compares an outbox with the streams it was published to, and restores what they have lost.

    A context manager: what it found lies in a temporary file until it closes. ``since`` are seconds before now; what
    was published earlier is not looked for. With ``force`` what a stream removed by itself is missing too.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        *,
        since: float | None = None,
        force: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        if since is not None and not since > 0:
            raise ConfigurationError(f"since must be above 0 seconds, not {since}")
        self._database = database
        self._broker = broker
        self._since = since
        self._force = force
        self._progress = progress
        self._notes = _Notes()

    async def compare(self, stream: str | None = None) -> tuple[StreamComparison, ...]:
        """Compare all streams, or one, and return what was found. Changes nothing.

        Raises ``MessagingError`` and ``StoreError`` when broker or database are away.
        """
        async with self._database.read() as tx:
            until = await table.clock(tx)
            after = 0.0 if self._since is None else until - self._since
            published = await table.published_subjects(tx, after=after, until=until)
            positions = await table.all_positions(tx)
        self._notes.clear(until)
        streams = dict.fromkeys([*(row.stream for row in published), *(row.stream for row in positions)])
        found = []
        for name in streams:
            if stream is None or name == stream:
                subjects = [row.subject for row in published if row.stream == name]
                known = {row.subject: row.sequence for row in positions if row.stream == name}
                found.append(await self._compare(name, subjects, known, after=after, until=until))
        return tuple(found)

    async def restore(self) -> int:
        """Let the missing ones of the last comparison be published again; return how many that are."""
        restored = 0
        for stream, partition in self._notes.places():
            async with self._database.transaction() as tx:
                for seqs in self._notes.lost(stream, partition):
                    restored += await table.unmark(tx, seqs, until=self._notes.until)
                await table.forget_positions(tx, stream, self._notes.unsure(stream, partition))
        return restored

    def close(self) -> None:
        """Let go of the temporary file."""
        self._notes.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _compare(
        self, stream: str, subjects: Sequence[str], known: dict[str, int], *, after: float, until: float
    ) -> StreamComparison:
        holding = await self._broker.holding(stream)
        for subject, sequence in known.items():
            if holding is None or await self._broker.last(stream, subject) < sequence:
                self._notes.add_unsure(stream, subject)
        read = 0
        self._notes.forget_ids()
        if holding is not None and holding.messages:
            for subject in subjects:
                read = await self._read(stream, subject, read)
        tallies = {subject: _Tally() for subject in subjects}
        limits = _Limits(holding, until)
        done = last = 0
        while rows := await self._page(stream, after=after, until=until, seq=last):
            self._look_for(rows, tallies, limits)
            last = rows[-1].seq
            done += len(rows)
            self._progress(Progress(stream=stream, doing="events looked for", done=done))
        return StreamComparison(
            stream=stream,
            there=holding is not None,
            removes=limits.words,
            subjects=tuple(tallies[subject].result(stream, subject) for subject in sorted(tallies)),
        )

    async def _read(self, stream: str, subject: str, read: int) -> int:
        """Note the ids of a subject's messages."""
        sequence = 0
        while stored := await self._broker.stored_after(stream, subject, sequence, _READ):
            self._notes.add_ids(each.id for each in stored)
            sequence = stored[-1].sequence
            read += len(stored)
            self._progress(Progress(stream=stream, doing="messages read", done=read))
            if len(stored) < _READ:
                break
        return read

    async def _page(self, stream: str, *, after: float, until: float, seq: int) -> Sequence[Any]:
        async with self._database.read() as tx:
            return await table.published_after(tx, stream, after=after, until=until, seq=seq, most=_PAGE)

    def _look_for(self, rows: Sequence[Any], tallies: Mapping[str, "_Tally"], limits: "_Limits") -> None:
        there = self._notes.stored([row.id for row in rows])
        lost = []
        for row in rows:
            tally = tallies.get(row.subject)
            if tally is None:  # marked with an earlier time than that of the first look
                continue
            tally.published += 1
            if row.id in there:
                limits.found(row)
            elif limits.removed(row) and not self._force:
                tally.removed += 1
            else:
                tally.lose(Lost(id=row.id, published_at=row.published_at))
                lost.append(row)
        self._notes.add_lost(lost)


@dataclass(slots=True)
class _Tally:
    """What was found of one subject so far."""

    published: int = 0
    missing: int = 0
    removed: int = 0
    first: Lost | None = None
    last: Lost | None = None

    def lose(self, lost: Lost) -> None:
        """Count an event that is missing."""
        self.missing += 1
        self.first = self.first or lost
        self.last = lost

    def result(self, stream: str, subject: str) -> SubjectComparison:
        """Return all of it."""
        return SubjectComparison(
            stream=stream,
            subject=subject,
            published=self.published,
            missing=self.missing,
            removed=self.removed,
            first=self.first,
            last=self.last,
        )


class _Limits:
    """What a stream removed by itself, as far as that can be told: what is older than what it still holds."""

    def __init__(self, holding: Holding | None, now: float) -> None:
        self._oldest = 0.0
        self._found = set[str]()
        self.words: str | None = None
        self._consuming = self._removed = False
        if holding is None:
            return
        if holding.max_age is not None:
            self._oldest = now - holding.max_age
        self._consuming = holding.consuming
        self._removed = holding.limited and holding.removed
        if holding.consuming:
            self.words = "what was consumed"
        elif holding.max_age is not None:
            self.words = f"what is older than {holding.max_age:g} s"
        elif holding.limited:
            self.words = "the oldest when there are too many"

    def found(self, row: Any) -> None:
        """Take note of an event that is there: later ones of its subject were not removed."""
        self._found.add(row.subject)

    def removed(self, row: Any) -> bool:
        """Say whether an event that is not there may have been removed by the stream itself."""
        too_old = bool(row.published_at <= self._oldest)
        return self._consuming or too_old or (self._removed and row.subject not in self._found)


class _Notes:
    """What a comparison has found, in a temporary file of SQLite's, so that memory does not grow with a stream."""

    def __init__(self) -> None:
        self.until = 0.0
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.executescript(
            f"""
            PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
            CREATE TABLE stored (id TEXT PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE lost (stream TEXT, partition INTEGER, seq INTEGER, PRIMARY KEY (stream, partition, seq))
                WITHOUT ROWID;
            CREATE TABLE unsure (stream TEXT, subject TEXT, PRIMARY KEY (stream, subject)) WITHOUT ROWID;
            """
        )

    def clear(self, until: float) -> None:
        """Begin anew, at a time of the database's clock."""
        self.until = until
        for name in ("stored", "lost", "unsure"):
            self._file.execute(f"DELETE FROM {name}")  # noqa: S608  # constants

    def forget_ids(self) -> None:
        """Go on to another stream."""
        self._file.execute("DELETE FROM stored")

    def add_ids(self, ids: Iterator[str]) -> None:
        """Note what is in the stream."""
        self._file.execute("BEGIN")
        self._file.executemany("INSERT OR IGNORE INTO stored VALUES (?)", ((each,) for each in ids))
        self._file.execute("COMMIT")

    def stored(self, ids: Sequence[str]) -> set[str]:
        """Return which of some ids are in the stream."""
        find = "SELECT 1 FROM stored WHERE id = ?"
        return {each for each in ids if self._file.execute(find, (each,)).fetchone()}

    def add_lost(self, rows: Sequence[Any]) -> None:
        """Note events that the stream has lost; their subjects' places are not to be relied on."""
        self._file.execute("BEGIN")
        self._file.executemany(
            "INSERT OR IGNORE INTO lost VALUES (?, ?, ?)", ((row.stream, row.partition, row.seq) for row in rows)
        )
        self._file.executemany(
            "INSERT OR IGNORE INTO unsure VALUES (?, ?)", {(row.stream, row.subject) for row in rows}
        )
        self._file.execute("COMMIT")

    def add_unsure(self, stream: str, subject: str) -> None:
        """Note a subject whose place in the stream is not what is known of it."""
        self._file.execute("INSERT OR IGNORE INTO unsure VALUES (?, ?)", (stream, subject))

    def places(self) -> Sequence[tuple[str, int]]:
        """Return the streams and partitions of which there is something to do."""
        found = set(self._file.execute("SELECT DISTINCT stream, partition FROM lost"))
        found |= {(stream, _partition(subject)) for stream, subject in self._file.execute("SELECT * FROM unsure")}
        return sorted(found)

    def lost(self, stream: str, partition: int) -> Iterator[Sequence[int]]:
        """Return the lost events of a partition, in their order, some at a time."""
        found = self._file.execute(
            "SELECT seq FROM lost WHERE stream = ? AND partition = ? ORDER BY seq", (stream, partition)
        )
        while rows := found.fetchmany(_PAGE):
            yield [seq for (seq,) in rows]

    def unsure(self, stream: str, partition: int) -> Collection[str]:
        """Return the subjects of a partition whose place is not known."""
        found = self._file.execute("SELECT subject FROM unsure WHERE stream = ?", (stream,))
        return [subject for (subject,) in found if _partition(subject) == partition]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _partition(subject: str) -> int:
    return int(subject.rpartition(".p")[2])
