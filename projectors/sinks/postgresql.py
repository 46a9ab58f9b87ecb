"""Sink on PostgreSQL 14 or later: a row a view, and the digests of its ranges, changed in one transaction."""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from projectors.engine.digests import LEAF_DIGITS, NOTHING, Fingerprint, Range, Summary, Tree, place, xor
from projectors.engine.sink import Change, ViewRefused
from projectors.model.view import View, ViewKey
from projectors.sinks import postgresql_statements
from projectors.sinks.address import checked
from projectors.sinks.ranged import Ranged
from projectors.sinks.stored import claimed, fingerprint, restored
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.runtime.retries import Transient, transient
from replicator.runtime.settings import Settings

T = TypeVar("T")

_IDLE = 8  # connections kept for later; more are made when more threads need one
_PAGE = 200
_DROP = 1000
_CHUNK = 16 * 1024 * 1024
_MAX_PREFIX = 40
_REFUSED = re.compile(
    r"authentication failed|does not exist|no pg_hba\.conf entry|no password supplied|invalid port|unsupported startup"
)
_USER = re.compile(r"\b(user|role) \"[^\"]*\"")
_NUL = re.compile(r"((?<!\\)(?:\\\\)*)\\u0000")  # an escaped NUL, and not an escaped backslash before "u0000"
_PASSING = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,
    errors.TransactionRollback,
    errors.IdleInTransactionSessionTimeout,
)


class _Connection(psycopg.Connection[Any]):
    """Connection whose every wait ends: a frozen or unreachable server sends nothing, not even that it is gone."""

    patience = 10.0

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        try:
            return super().wait(_bounded(gen, self.patience), *args, **kwargs)
        except _Silence:
            self.close()  # otherwise leaving the transaction would wait as long again
            raise


class _Silence(psycopg.OperationalError):
    """The server did not answer in time."""


def _bounded(generator: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    end = time.monotonic() + seconds
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                raise _Silence(f"no answer within {seconds:g} s")
            wanted = generator.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result


class PostgresSink:
    """Sink on the tables `{prefix}_views` and `{prefix}_ranges` of a database. `dsn` is a libpq URL or connection string.

    Threads may share it. It holds up to 8 idle connections; `close` ends them. Raises InvalidConfig for a DSN that cannot be
    read, and, when first used, if the server refuses it or the tables are missing.
    """

    def __init__(self, dsn: str, settings: Settings) -> None:
        self._settings = settings
        self.name = _name(dsn)
        if len(settings.prefix) > _MAX_PREFIX:
            raise InvalidConfig(
                f"prefix {settings.prefix!r} is too long for PostgreSQL's names; use up to {_MAX_PREFIX} characters"
            )
        milliseconds = int(settings.read_timeout * 1000)
        limits = f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds * 10}"
        given = str(conninfo_to_dict(dsn).get("options") or "")
        self._conninfo = make_conninfo(
            dsn,
            connect_timeout=max(2, round(settings.connect_timeout)),  # libpq's minimum
            application_name="meridian",
            options=f"{given} {limits}".strip(),
            client_encoding="utf8",
        )
        self._idle: list[_Connection] = []
        self._lock = Lock()
        names = {
            **{name: sql.Identifier(settings.prefix + suffix) for name, suffix in postgresql_statements.SUFFIXES.items()},
            "made_as": sql.Literal(postgresql_statements.MADE_AS),
            "digits": sql.Literal(LEAF_DIGITS),
            "page": sql.Literal(_PAGE),
            "drop": sql.Literal(_DROP),
        }

        def statement(text: str) -> sql.Composed:
            return sql.SQL(text).format(**names)

        self._tables = {
            settings.prefix + postgresql_statements.SUFFIXES[name]: statement(text)
            for name, text in postgresql_statements.TABLES.items()
        }
        self._current = statement(postgresql_statements.CURRENT)
        self._described = statement("COMMENT ON VIEW {current} IS {made_as}")
        self._write, self._write_rows, self._sum = (
            statement(postgresql_statements.WRITE),
            statement(postgresql_statements.WRITE_ROWS),
            statement(postgresql_statements.SUM),
        )
        self._discard, self._lock_ranges, self._anew = (
            statement(postgresql_statements.DISCARD),
            statement(postgresql_statements.LOCK_RANGES),
            statement(postgresql_statements.ANEW),
        )
        self._locked, self._held = statement(postgresql_statements.LOCK), statement(postgresql_statements.HELD)
        self._load, self._views, self._cells = (
            statement(postgresql_statements.LOAD),
            statement(postgresql_statements.VIEWS),
            statement(postgresql_statements.CELLS),
        )
        self._leaves, self._rows = statement(postgresql_statements.LEAVES), statement(postgresql_statements.ROWS)
        self._doomed, self._delete, self._emptied = (
            statement(postgresql_statements.DOOMED),
            statement(postgresql_statements.DELETE),
            statement(postgresql_statements.EMPTIED),
        )
        self._recount = statement(postgresql_statements.RECOUNT)
        self._forget = statement("DELETE FROM {ranges} WHERE projection = %s AND version = %s")
        self._activate = statement(
            "INSERT INTO {active} VALUES (%s, %s) ON CONFLICT (projection) DO UPDATE SET version = excluded.version"
        )
        self._lock_tables = statement("LOCK TABLE {views}, {ranges} IN SHARE ROW EXCLUSIVE MODE")

    def create_tables(self) -> None:
        """Create the tables and the view `{prefix}_current` if they are missing or the view has another definition. Locks
        nothing that exists. Raises InvalidConfig for a database that is not in UTF-8."""

        def create(connection: _Connection) -> None:
            (encoding,) = connection.execute("SHOW server_encoding").fetchone() or ("",)
            if encoding != "UTF8":
                raise InvalidConfig(f"the database of {self.name} is in {encoding}; create one with ENCODING 'UTF8'")
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('meridian'))")  # otherwise two processes would race
            for name, statement in self._tables.items():
                if not self._there(connection, name)[0]:
                    connection.execute(statement)
            if self._there(connection, f"{self._settings.prefix}_current") != (True, postgresql_statements.MADE_AS):
                connection.execute(self._current)
                connection.execute(self._described)

        self._run(create)

    @staticmethod
    def _there(connection: _Connection, name: str) -> tuple[bool, str | None]:
        """Return whether a table, index or view of this name exists, and its comment."""
        found: tuple[bool, str | None] = connection.execute(postgresql_statements.THERE, (name, name)).fetchone() or (
            False,
            None,
        )
        return found

    def activate(self, projection: str, version: int) -> None:
        """Make `{prefix}_current` show this version: readers by SQL see it from this transaction on."""
        self._run(lambda connection: connection.execute(self._activate, (projection, version)))

    def close(self) -> None:
        """Close the idle connections. The sink can still be used."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        wanted = list(set(keys))
        found: dict[ViewKey, View] = {}
        for start in range(0, len(wanted), 1000):
            arguments = _columns([(n, *_row(key)) for n, key in enumerate(wanted[start : start + 1000])])
            for view in self._read(self._load, arguments):
                found[view.id] = view
        return found

    def save(self, changes: Sequence[Change]) -> list[bool]:
        return self._run(lambda connection: self._save(connection, changes)) if changes else []

    def _save(self, connection: _Connection, changes: Sequence[Change]) -> list[bool]:
        stored = self._look(connection, self._locked, changes)
        saved = [False] * len(changes)
        writes = []
        for n, change in enumerate(changes):
            view, held = change.view, stored.get(n)
            digest = view.digest
            if (held.vector if held else None) == (str(change.before) if change.before is not None else None):
                writes.append(_Write.of(n, view, digest, held.digest if held else None))
            else:
                saved[n] = held is not None and held.digest == digest
        if not writes:
            return saved
        done = self._write_all(connection, writes)
        for n in done:
            saved[n] = True
        if raced := [write.n for write in writes if not saved[write.n]]:  # made by another since the look-up
            # Not locked: after the ranges that would be the wrong order.
            made = self._look(connection, self._held, [changes[n] for n in raced])
            for n, held in zip(raced, [made.get(position) for position in range(len(raced))], strict=True):
                saved[n] = held is not None and held.digest == changes[n].view.digest
        return saved

    def _write_all(self, connection: _Connection, writes: list[_Write]) -> list[int]:
        """Write rows and ranges. Returns the positions of those that were made."""
        chunks = list(_chunks(writes))
        statement = self._write if len(chunks) == 1 else self._write_rows
        done: list[_Write] = []
        for chunk in chunks:
            by_id = {write.id: write for write in chunk}
            records = connection.execute(statement, _columns([write[1:] for write in chunk])).fetchall()
            done += [by_id[record] for record in records]
        if len(chunks) > 1 and done:
            changed: dict[tuple[str, int, str], Range] = {}
            for write in done:
                leaf = (write.projection, write.version, write.place.hex()[:LEAF_DIGITS])
                delta = Range(int(write.is_new), int(write.delta, 2).to_bytes(32))
                changed[leaf] = changed.get(leaf, NOTHING).plus(delta)
            rows = [(*leaf, held.views, _bits(held.digest)) for leaf, held in changed.items()]
            connection.execute(self._sum, _columns(rows))
        return [write.n for write in done]

    def _look(self, connection: _Connection, statement: sql.Composed, changes: Sequence[Change]) -> dict[int, _Held]:
        """Return the stored state of each change's view, by the change's position."""
        arguments = _columns([(n, *_row(change.view.id)) for n, change in enumerate(changes)])
        records = connection.execute(statement, arguments).fetchall()
        return {n: _Held(vector, bytes(digest)) for n, vector, digest in records}

    def views(self, projection: str, version: int = 1) -> Iterator[View]:
        last = ("", "")
        while page := self._read(self._views, (projection, version, *last)):
            yield from page
            last = (page[-1].row, page[-1].key)

    def cells(self, projection: str, version: int, row: str) -> Iterator[View]:
        last = ""
        while page := self._read(self._cells, (projection, version, row, last)) if row else []:
            yield from page
            last = page[-1].key

    def _read(self, statement: sql.Composed, arguments: Sequence[Any]) -> list[View]:
        return [_view(record) for record in self._run(lambda c: c.execute(statement, arguments).fetchall())]

    def summary(self, projection: str, version: int = 1, *, thorough: bool = False) -> Summary:
        """Return a summary of one snapshot of the database: its own transaction, which ends with it, or when all rows are
        read."""
        if thorough:
            return self._tried(lambda: self._thorough(projection, version))

        def leaves(connection: _Connection) -> dict[str, Range]:
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1h'")  # the other side may take long
            records = connection.execute(self._leaves, (projection, version)).fetchall()
            return {leaf: Range(count, int(digest, 2).to_bytes(32)) for leaf, count, digest in records}

        def begin() -> tuple[_Connection, dict[str, Range]]:
            connection = self._snapshot()
            try:
                with self._sorted():
                    return connection, leaves(connection)
            except BaseException:
                connection.close()
                raise

        connection, kept = self._tried(begin)
        turn = Lock()

        def rows(prefix: str) -> Mapping[ViewKey, Fingerprint]:
            span = (prefix.ljust(64, "0"), prefix.ljust(64, "f"))
            try:
                with turn, self._sorted():
                    records = connection.execute(self._rows, (projection, version, *span)).fetchall()
            except Transient as error:
                raise RegionUnavailable(f"{self.name} ended the summary ({error}); start a new one") from error
            return {
                ViewKey(projection, key, version, row): claimed(vector, bytes(digest))
                for key, row, vector, digest in records
            }

        weakref.finalize(rows, connection.close)
        return Ranged(kept, rows)

    def _snapshot(self) -> _Connection:
        """Return a connection of its own, whose transaction sees the database as of its first statement."""
        connection = self._connect()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        return connection

    def _thorough(self, projection: str, version: int) -> Tree:
        """Return a summary of every row in one snapshot."""

        def rows(connection: _Connection) -> Iterator[tuple[ViewKey, Fingerprint]]:
            last = ("", "")
            while page := connection.execute(self._views, (projection, version, *last)).fetchall():
                yield from ((_id(record), fingerprint(_id(record), *_stored(record))) for record in page)
                last = (page[-1][2], page[-1][3])

        with self._sorted():
            connection = self._snapshot()
            try:
                return Tree(rows(connection))
            finally:
                connection.close()

    def discard(self, keys: Collection[ViewKey]) -> None:
        wanted = list(set(keys))
        for start in range(0, len(wanted), _DROP):
            part = wanted[start : start + _DROP]
            self._run(partial(self._discarded, keys=part))

    def _discarded(self, connection: _Connection, keys: Sequence[ViewKey]) -> None:
        arguments = _columns([(n, *_row(key)) for n, key in enumerate(keys)])
        gone = sorted(keys[n] for n, *_ in connection.execute(self._locked, arguments).fetchall())
        if gone:
            # Only those: rows made since are not locked.
            connection.execute(self._discard, _columns([_row(key) for key in gone]))
            leaves = {(key.projection, key.version, place(key.key, key.row)[:LEAF_DIGITS]) for key in gone}
            arguments = _columns(sorted(leaves))
            connection.execute(self._lock_ranges, arguments)  # transactions that wait for it see the new digests
            connection.execute(self._anew, arguments)

    def drop(self, projection: str, version: int) -> Iterator[int]:
        def batch(connection: _Connection) -> int:
            doomed = connection.execute(self._doomed, (projection, version)).fetchall()
            arguments = (*_columns(doomed), projection, version)
            return _one(connection.execute(self._delete, arguments)) if doomed else 0

        gone = 0
        while count := self._run(batch):
            gone += count
            yield gone
        self._run(lambda c: c.execute(self._emptied, (projection, version)))

    def recount(self, projection: str, version: int = 1) -> None:
        """Recompute the ranges from the rows, after the tables were changed by other hands. Writers wait meanwhile."""

        def count(connection: _Connection) -> None:
            connection.execute(self._lock_tables)
            connection.execute(self._forget, (projection, version))
            connection.execute(self._recount, (projection, version))

        self._run(count)

    def _run(self, work: Callable[[_Connection], T]) -> T:
        """Call `work` in one transaction, again when it failed for a reason that may pass."""

        def once() -> T:
            with self._connection() as connection, connection.transaction():
                return work(connection)

        return self._tried(once)

    def _tried(self, once: Callable[[], T]) -> T:
        try:
            return transient(self._settings.attempts)(once)
        except Transient as error:
            raise RegionUnavailable(f"{self.name} does not answer ({error}); pending work for it is kept") from error

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            with self._sorted():
                yield connection
        except (Transient, InvalidConfig):
            connection.close()
            self.close()  # the cause broke the others too
            raise
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> _Connection:
        try:
            connection = _Connection.connect(self._conninfo)
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError) and not _REFUSED.search(str(error)):
                raise Transient(_said(error), sent=False) from error
            raise InvalidConfig(f"{self.name} refuses the connection: {_said(error)}. Correct the sink's address") from None
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.prepare_threshold = None  # planned anew for each batch: a plan made for an empty table fits no full one
        connection.patience = self._settings.read_timeout * 1.5  # the server's own limit, which reports more, comes first
        return connection

    @contextmanager
    def _sorted(self) -> Iterator[None]:
        """Translate psycopg's errors into Meridian's."""
        try:
            yield
        except (errors.UndefinedTable, errors.UndefinedColumn) as error:
            raise InvalidConfig(
                f"{self.name} lacks Meridian's tables ({_said(error)}); create them with `projectors init`, "
                "or correct the prefix"
            ) from None
        except (psycopg.DataError, errors.ProgramLimitExceeded) as error:  # content that the tables cannot hold
            raise ViewRefused(f"{self.name} refused a statement: {_said(error)}") from None
        except _PASSING as error:
            raise Transient(_said(error), sent=True) from error
        except psycopg.Error as error:  # errors that waiting does not help
            raise InvalidConfig(f"{self.name} refused a statement: {_said(error)}") from None


class _Held(NamedTuple):
    """Stored state of a view."""

    vector: str
    digest: bytes


class _Write(NamedTuple):
    """Change to be made: its position, and the parameters of statements.WRITE. `delta` is its effect on its range's
    digest."""

    n: int
    projection: str
    version: int
    row: str
    key: str
    is_new: bool
    place: bytes
    vector: str
    state: str
    value: str
    exact: str | None
    digest: bytes
    delta: str

    @property
    def id(self) -> tuple[str, int, str, str]:
        return self.projection, self.version, self.row, self.key

    @classmethod
    def of(cls, n: int, view: View, digest: bytes, old: bytes | None) -> _Write:
        delta = xor(old or NOTHING.digest, digest)
        where = bytes.fromhex(place(view.key, view.row))
        texts = (str(view.vector), view.state_text, *_readable(view.value_text))
        return cls(n, *_row(view.id), old is None, where, *texts, digest, _bits(delta))


def _name(dsn: str) -> str:
    """Return the name of a DSN, which may be a URL or pairs: without user, password and options. Raises InvalidConfig for an
    invalid one."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error:  # its text may quote the password
        raise InvalidConfig(
            "the PostgreSQL address cannot be read; write postgresql://user:password@host:5432/database, with "
            "special characters in the password percent-encoded"
        ) from None
    if "://" in dsn:
        return checked(dsn)
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    return f"postgresql://{host}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"


def _bits(digest: bytes) -> str:
    """Return a digest as the text of a bit(256)."""
    return f"{int.from_bytes(digest):0256b}"


def _row(key: ViewKey) -> tuple[str, int, str, str]:
    """Return a key in the order of the table's primary key."""
    return key.projection, key.version, key.row, key.key


def _readable(text: str) -> tuple[str, str | None]:
    """Return a value as SQL can read into it, and the exact text if that differs: `->>` fails on a value with a NUL in
    it."""
    readable = _NUL.sub(r"\1\\ufffd", text)
    return readable, None if readable == text else text


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Return rows as columns, as unnest takes them."""
    return [list(column) for column in zip(*rows, strict=True)]


def _chunks(writes: list[_Write]) -> Iterator[list[_Write]]:
    """Yield the writes in the order in which locks are taken, new rows first; almost always one chunk: PostgreSQL takes no
    statement of a gigabyte."""
    chunk: list[_Write] = []
    size = 0
    for write in sorted(writes, key=lambda write: (not write.is_new, write.id)):
        large = len(write.state) + len(write.value)
        if chunk and size + large > _CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(write)
        size += large
    yield chunk


def _one(cursor: psycopg.Cursor[Any]) -> int:
    (count,) = cursor.fetchone() or (0,)
    return int(count)


def _view(record: tuple[Any, ...]) -> View:
    return restored(_id(record), *_stored(record))


def _id(record: tuple[Any, ...]) -> ViewKey:
    projection, version, row, key = record[:4]
    return ViewKey(projection, key, version, row)


def _stored(record: tuple[Any, ...]) -> tuple[Any, Any, Any, bytes]:
    """Return vector, state, value and digest."""
    vector, state, value, digest = record[4:]
    return vector, state, value, bytes(digest)


def _said(error: psycopg.Error) -> str:
    """Return the first line of an error, without the user: never a statement's parameters."""
    lines = str(error).strip().splitlines()
    return _USER.sub(r"\1 …", lines[0]) if lines else type(error).__name__
