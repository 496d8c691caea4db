"""Each connection that an event can be written on, as its users have it: begun, committed, rolled back."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, closing, contextmanager
from typing import Any, Literal

import aiosqlite
import asyncpg
import psycopg
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

__all__ = ["ASYNC_POSTGRES", "ASYNC_SQLITE", "SYNC_POSTGRES", "SYNC_SQLITE", "AsyncPlace", "SyncPlace", "alchemy"]

AsyncPlace = Callable[[str], AbstractAsyncContextManager[Any]]
SyncPlace = Callable[[str], AbstractContextManager[Any]]


def alchemy(url: str, driver: str) -> str:
    """Return the URL as SQLAlchemy takes it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}+{driver}://{rest}" if rest else f"sqlite+{driver}:///{url}"


def _connection(driver: str) -> AsyncPlace:
    @asynccontextmanager
    async def place(url: str) -> AsyncIterator[Any]:
        engine = create_async_engine(alchemy(url, driver))
        try:
            async with engine.begin() as connection:
                yield connection
        finally:
            await engine.dispose()

    return place


def _session(driver: str) -> AsyncPlace:
    @asynccontextmanager
    async def place(url: str) -> AsyncIterator[Any]:
        engine = create_async_engine(alchemy(url, driver))
        try:
            async with AsyncSession(engine) as session, session.begin():
                yield session
        finally:
            await engine.dispose()

    return place


def _connection_sync(driver: str) -> SyncPlace:
    @contextmanager
    def place(url: str) -> Iterator[Any]:
        engine = create_engine(alchemy(url, driver))
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    return place


def _session_sync(driver: str) -> SyncPlace:
    @contextmanager
    def place(url: str) -> Iterator[Any]:
        engine = create_engine(alchemy(url, driver))
        try:
            with Session(engine) as session, session.begin():
                yield session
        finally:
            engine.dispose()

    return place


@asynccontextmanager
async def _asyncpg(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _asyncpg_pool(url: str) -> AsyncIterator[Any]:
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):
        yield connection


@asynccontextmanager
async def _psycopg(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(url) as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def _psycopg_implicit(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT 1")
        yield connection


@contextmanager
def _psycopg_sync(url: str) -> Iterator[Any]:
    with psycopg.connect(url) as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def _aiosqlite(path: str) -> AsyncIterator[Any]:
    async with aiosqlite.connect(path) as connection:
        await connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            await connection.rollback()
            raise
        await connection.commit()


def _sqlite3(isolation_level: Literal["DEFERRED"] | None) -> SyncPlace:
    @contextmanager
    def place(path: str) -> Iterator[Any]:
        with closing(sqlite3.connect(path, isolation_level=isolation_level)) as connection, connection:
            connection.execute("BEGIN")
            yield connection

    return place


ASYNC_SQLITE: dict[str, AsyncPlace] = {
    "sqlalchemy connection": _connection("aiosqlite"),
    "sqlalchemy session": _session("aiosqlite"),
    "aiosqlite": _aiosqlite,
}
ASYNC_POSTGRES: dict[str, AsyncPlace] = {
    "sqlalchemy connection, asyncpg": _connection("asyncpg"),
    "sqlalchemy session, asyncpg": _session("asyncpg"),
    "sqlalchemy connection, psycopg": _connection("psycopg"),
    "sqlalchemy session, psycopg": _session("psycopg"),
    "asyncpg": _asyncpg,
    "asyncpg pool": _asyncpg_pool,
    "psycopg": _psycopg,
    "psycopg implicit": _psycopg_implicit,
}
SYNC_SQLITE: dict[str, SyncPlace] = {
    "sqlalchemy connection": _connection_sync("pysqlite"),
    "sqlalchemy session": _session_sync("pysqlite"),
    "sqlite3": _sqlite3("DEFERRED"),
    "sqlite3 without its own transactions": _sqlite3(None),
}
SYNC_POSTGRES: dict[str, SyncPlace] = {
    "sqlalchemy connection, psycopg": _connection_sync("psycopg"),
    "sqlalchemy session, psycopg": _session_sync("psycopg"),
    "psycopg": _psycopg_sync,
}
