"""The sink on PostgreSQL 14 or later: a row a view, and the digests of its ranges, changed in one transaction."""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from projectors.sinks.opening import checked
from projectors.sinks.port import Change
from projectors.sinks.ranged import Ranged
from projectors.sinks.stored import claimed, fingerprint, restored
from projectors.summary import LEAF_DIGITS, NOTHING, Fingerprint, Range, Summary, Tree, place, xor
from projectors.view import View, ViewKey
from replicator.errors import InvalidConfig, RegionUnavailable
from replicator.retries import Transient, transient
from replicator.settings import Settings

T = TypeVar("T")

_IDLE = 8  # connections kept for later; more are made when more threads want one
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

# Each is made only where it is missing: even IF NOT EXISTS takes locks that wait for savers and readers.
_TABLES = {
    "views": """
CREATE TABLE {views} (
    projection text COLLATE "C" NOT NULL,
    version    integer NOT NULL,
    row        text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    place      bytea NOT NULL,
    vector     text NOT NULL,
    state      text NOT NULL,
    value      json NOT NULL,
    exact      text,
    digest     bytea NOT NULL,
    PRIMARY KEY (projection, version, row, key)
)""",
    "place_index": "CREATE INDEX {place_index} ON {views} (projection, version, place)",
    "ranges": """
CREATE TABLE {ranges} (
    projection text COLLATE "C" NOT NULL,
    version    integer NOT NULL,
    leaf       text COLLATE "C" NOT NULL,
    count      bigint NOT NULL,
    digest     bit(256) NOT NULL,
    PRIMARY KEY (projection, version, leaf)
) WITH (fillfactor = 50)""",
    "active": """
CREATE TABLE {active} (
    projection text COLLATE "C" PRIMARY KEY,
    version    integer NOT NULL
)""",
}
_CURRENT = """
CREATE OR REPLACE VIEW {current} AS
    SELECT v.projection, v.version, v.row, v.key, v.vector, v.value FROM {views} v
    LEFT JOIN {active} a USING (projection) WHERE v.version = coalesce(a.version, 1)
"""
_MADE_AS = f"Meridian's, {sha256(_CURRENT.encode()).hexdigest()[:16]}"
"""The comment on the view {current}: which definition it was made by. PostgreSQL keeps definitions in words of its own."""
_THERE = "SELECT to_regclass(quote_ident(%s)) IS NOT NULL, obj_description(to_regclass(quote_ident(%s)), 'pg_class')"
_SUFFIXES = {
    "views": "_views",
    "ranges": "_ranges",
    "active": "_active",
    "current": "_current",
    "place_index": "_views_place",
}
# Locks are taken in one order by everyone: rows by their key, then ranges by their leaf.
_HELD = """
SELECT w.n, v.vector, v.digest
FROM unnest(%s::int[], %s::text[], %s::int[], %s::text[], %s::text[]) AS w (n, projection, version, row, key)
JOIN {views} v USING (projection, version, row, key)
"""
_LOCK = _HELD + "ORDER BY v.projection, v.version, v.row, v.key FOR UPDATE OF v"
_ADD_UP = """
INSERT INTO {ranges} AS r (projection, version, leaf, count, digest)
SELECT projection, version, leaf, sum(count), bit_xor(delta) FROM changed GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (projection, version, leaf) DO UPDATE SET count = r.count + excluded.count, digest = r.digest # excluded.digest
"""
# Inserts come before updates: an insert waits for a row that is being changed, not for one that is only locked.
_CHANGE = """
WITH w AS (
    SELECT * FROM unnest(
        %s::text[], %s::int[], %s::text[], %s::text[], %s::bool[],
        %s::bytea[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::bit(256)[]
    ) AS w (projection, version, row, key, is_new, place, vector, state, value, exact, digest, delta)
), made AS (
    INSERT INTO {views} (projection, version, row, key, place, vector, state, value, exact, digest)
    SELECT projection, version, row, key, place, vector, state, value::json, exact, digest FROM w
    WHERE is_new ORDER BY projection, version, row, key
    ON CONFLICT DO NOTHING
    RETURNING projection, version, row, key, place, 1 AS count, ('x' || encode(digest, 'hex'))::bit(256) AS delta
), moved AS (
    UPDATE {views} v SET vector = w.vector, state = w.state, value = w.value::json, exact = w.exact, digest = w.digest
    FROM w WHERE NOT w.is_new AND (SELECT count(*) FROM made) >= 0
    AND (v.projection, v.version, v.row, v.key) = (w.projection, w.version, w.row, w.key)
    RETURNING v.projection, v.version, v.row, v.key, v.place, 0 AS count, w.delta
), done AS (
    SELECT * FROM moved UNION ALL SELECT * FROM made
)"""
_WRITE = (
    _CHANGE
    + """, changed AS (
    SELECT projection, version, left(encode(place, 'hex'), {digits}) AS leaf, count, delta FROM done
), summed AS ("""
    + _ADD_UP
    + """) SELECT projection, version, row, key FROM done"""
)
# A batch in several statements: all rows first, then the ranges at once. Ranges between rows would break the order.
_WRITE_ROWS = _CHANGE + "SELECT projection, version, row, key FROM done"
_SUM = (
    """
WITH changed AS (
    SELECT * FROM unnest(%s::text[], %s::int[], %s::text[], %s::bigint[], %s::bit(256)[])
    AS w (projection, version, leaf, count, delta)
)"""
    + _ADD_UP
)
_LOAD = """
SELECT projection, version, row, key, vector, state, coalesce(exact, value::text), digest
FROM unnest(%s::int[], %s::text[], %s::int[], %s::text[], %s::text[]) AS w (n, projection, version, row, key)
JOIN {views} USING (projection, version, row, key)
"""
_VIEWS = """
SELECT projection, version, row, key, vector, state, coalesce(exact, value::text), digest FROM {views}
WHERE projection = %s AND version = %s AND (row, key) > (%s, %s)
ORDER BY row, key LIMIT {page}
"""
_CELLS = """
SELECT projection, version, row, key, vector, state, coalesce(exact, value::text), digest FROM {views}
WHERE projection = %s AND version = %s AND row = %s AND key > %s
ORDER BY key LIMIT {page}
"""
_LEAVES = "SELECT leaf, count, digest::text FROM {ranges} WHERE projection = %s AND version = %s"
_ROWS = """
SELECT key, row, vector, digest FROM {views}
WHERE projection = %s AND version = %s AND place BETWEEN decode(%s, 'hex') AND decode(%s, 'hex')
"""
# All are locked before one is deleted, for the same reason.
_DOOMED = """
SELECT row, key FROM {views} WHERE projection = %s AND version = %s
ORDER BY projection, version, row, key LIMIT {drop} FOR UPDATE
"""
_DELETE = (
    """
WITH gone AS (
    DELETE FROM {views} v USING unnest(%s::text[], %s::text[]) AS w (row, key)
    WHERE v.projection = %s AND v.version = %s AND (v.row, v.key) = (w.row, w.key)
    RETURNING v.projection, v.version, v.place, v.digest
), changed AS (
    SELECT projection, version, left(encode(place, 'hex'), {digits}) AS leaf, -1 AS count,
           ('x' || encode(digest, 'hex'))::bit(256) AS delta
    FROM gone
), summed AS ("""
    + _ADD_UP
    + """) SELECT count(*) FROM gone"""
)
# What is damaged may be in its range by another digest: so a range that loses such a view is reckoned anew from its rows,
# while nobody else changes it.
_DISCARD = """
DELETE FROM {views} v USING unnest(%s::text[], %s::int[], %s::text[], %s::text[]) AS w (projection, version, row, key)
WHERE (v.projection, v.version, v.row, v.key) = (w.projection, w.version, w.row, w.key)
"""
_LOCK_RANGES = """
SELECT 1 FROM {ranges} r JOIN unnest(%s::text[], %s::int[], %s::text[]) AS w (projection, version, leaf)
USING (projection, version, leaf) ORDER BY r.projection, r.version, r.leaf FOR UPDATE OF r
"""
_ANEW = """
UPDATE {ranges} r SET (count, digest) = (
    SELECT count(*), coalesce(bit_xor(('x' || encode(v.digest, 'hex'))::bit(256)), 0::bit(256)) FROM {views} v
    WHERE v.projection = r.projection AND v.version = r.version
    AND v.place BETWEEN decode(rpad(r.leaf, 64, '0'), 'hex') AND decode(rpad(r.leaf, 64, 'f'), 'hex')
)
FROM unnest(%s::text[], %s::int[], %s::text[]) AS w (projection, version, leaf)
WHERE (r.projection, r.version, r.leaf) = (w.projection, w.version, w.leaf)
"""
_EMPTIED = """
DELETE FROM {ranges} r USING (
    SELECT projection, version, leaf FROM {ranges} WHERE projection = %s AND version = %s AND count = 0
    ORDER BY projection, version, leaf FOR UPDATE
) w WHERE (r.projection, r.version, r.leaf) = (w.projection, w.version, w.leaf) AND r.count = 0
"""
_RECOUNT = """
WITH changed AS (
    SELECT projection, version, left(encode(place, 'hex'), {digits}) AS leaf, 1 AS count,
           ('x' || encode(digest, 'hex'))::bit(256) AS delta
    FROM {views} WHERE projection = %s AND version = %s
)
""" + _ADD_UP.partition("ON CONFLICT")[0]


class _Connection(psycopg.Connection[Any]):
    """A connection whose every wait ends: a server that is frozen or cut off says nothing, not even that it is gone."""

    patience = 10.0

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        try:
            return super().wait(_bounded(gen, self.patience), *args, **kwargs)
        except _Silence:
            self.close()  # or leaving the transaction would wait as long again
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
    """A Sink on the tables `{prefix}_views` and `{prefix}_ranges` of a database. `dsn` is a libpq URL or connection string.

    Threads may share it. It holds up to 8 idle connections; `close` ends them. Raises InvalidConfig for a DSN that cannot be
    read, and, when first used, where the server refuses it or the tables are missing.
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
            connect_timeout=max(2, round(settings.connect_timeout)),  # libpq's least
            application_name="meridian",
            options=f"{given} {limits}".strip(),
            client_encoding="utf8",
        )
        self._idle: list[_Connection] = []
        self._lock = Lock()
        names = {
            **{name: sql.Identifier(settings.prefix + suffix) for name, suffix in _SUFFIXES.items()},
            "made_as": sql.Literal(_MADE_AS),
            "digits": sql.Literal(LEAF_DIGITS),
            "page": sql.Literal(_PAGE),
            "drop": sql.Literal(_DROP),
        }

        def statement(text: str) -> sql.Composed:
            return sql.SQL(text).format(**names)

        self._tables = {settings.prefix + _SUFFIXES[name]: statement(text) for name, text in _TABLES.items()}
        self._current, self._described = statement(_CURRENT), statement("COMMENT ON VIEW {current} IS {made_as}")
        self._write, self._write_rows, self._sum = statement(_WRITE), statement(_WRITE_ROWS), statement(_SUM)
        self._discard, self._lock_ranges, self._anew = statement(_DISCARD), statement(_LOCK_RANGES), statement(_ANEW)
        self._locked, self._held = statement(_LOCK), statement(_HELD)
        self._load, self._views, self._cells = statement(_LOAD), statement(_VIEWS), statement(_CELLS)
        self._leaves, self._rows = statement(_LEAVES), statement(_ROWS)
        self._doomed, self._delete, self._emptied = statement(_DOOMED), statement(_DELETE), statement(_EMPTIED)
        self._recount = statement(_RECOUNT)
        self._forget = statement("DELETE FROM {ranges} WHERE projection = %s AND version = %s")
        self._activate = statement(
            "INSERT INTO {active} VALUES (%s, %s) ON CONFLICT (projection) DO UPDATE SET version = excluded.version"
        )
        self._lock_tables = statement("LOCK TABLE {views}, {ranges} IN SHARE ROW EXCLUSIVE MODE")

    def create_tables(self) -> None:
        """Create the tables and the view `{prefix}_current` where they are missing, or the view is of another make. Locks
        nothing that is there. Raises InvalidConfig for a database that is not in UTF-8."""

        def create(connection: _Connection) -> None:
            (encoding,) = connection.execute("SHOW server_encoding").fetchone() or ("",)
            if encoding != "UTF8":
                raise InvalidConfig(f"the database of {self.name} is in {encoding}; create one with ENCODING 'UTF8'")
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('meridian'))")  # or two of them would race
            for name, statement in self._tables.items():
                if not self._there(connection, name)[0]:
                    connection.execute(statement)
            if self._there(connection, f"{self._settings.prefix}_current") != (True, _MADE_AS):
                connection.execute(self._current)
                connection.execute(self._described)

        self._run(create)

    @staticmethod
    def _there(connection: _Connection, name: str) -> tuple[bool, str | None]:
        """Is there a table, index or view of this name, and its comment?"""
        found: tuple[bool, str | None] = connection.execute(_THERE, (name, name)).fetchone() or (False, None)
        return found

    def activate(self, projection: str, version: int) -> None:
        """Let `{prefix}_current` show this version: readers by SQL see it from this transaction on."""
        self._run(lambda connection: connection.execute(self._activate, (projection, version)))

    def close(self) -> None:
        """End the idle connections. The sink can still be used."""
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
        if raced := [write.n for write in writes if not saved[write.n]]:  # made by somebody else since they were looked for
            # Not locked: after the ranges that would be the wrong order.
            made = self._look(connection, self._held, [changes[n] for n in raced])
            for n, held in zip(raced, [made.get(position) for position in range(len(raced))], strict=True):
                saved[n] = held is not None and held.digest == changes[n].view.digest
        return saved

    def _write_all(self, connection: _Connection, writes: list[_Write]) -> list[int]:
        """Write rows and ranges; which of them were made."""
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
        """What is stored of each change's view, by the change's position."""
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
        """One snapshot of the database: a transaction of its own, which ends with the summary, or when all rows are read."""
        if thorough:
            return self._tried(lambda: self._thorough(projection, version))

        def leaves(connection: _Connection) -> dict[str, Range]:
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1h'")  # the other side may take its time
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
                raise RegionUnavailable(f"{self.name} ended the summary ({error}); ask for a new one") from error
            return {
                ViewKey(projection, key, version, row): claimed(vector, bytes(digest))
                for key, row, vector, digest in records
            }

        weakref.finalize(rows, connection.close)
        return Ranged(kept, rows)

    def _snapshot(self) -> _Connection:
        """A connection of its own, whose transaction sees the database as of its first statement."""
        connection = self._connect()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        return connection

    def _thorough(self, projection: str, version: int) -> Tree:
        """Every row as it is in one snapshot."""

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
            # Those alone: what was made since is not locked.
            connection.execute(self._discard, _columns([_row(key) for key in gone]))
            leaves = {(key.projection, key.version, place(key.key, key.row)[:LEAF_DIGITS]) for key in gone}
            arguments = _columns(sorted(leaves))
            connection.execute(self._lock_ranges, arguments)  # whoever waits for it sees what is reckoned next
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
        """Reckon the ranges anew from the rows, after somebody else's hand was in the tables. Savers wait meanwhile."""

        def count(connection: _Connection) -> None:
            connection.execute(self._lock_tables)
            connection.execute(self._forget, (projection, version))
            connection.execute(self._recount, (projection, version))

        self._run(count)

    def _run(self, work: Callable[[_Connection], T]) -> T:
        """Do `work` in one transaction, again where it failed for a reason that may pass."""

        def once() -> T:
            with self._connection() as connection, connection.transaction():
                return work(connection)

        return self._tried(once)

    def _tried(self, once: Callable[[], T]) -> T:
        try:
            return transient(self._settings.attempts)(once)
        except Transient as error:
            raise RegionUnavailable(f"{self.name} does not answer ({error}); what waits for it is kept") from error

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
            self.close()  # what broke this one broke the others
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
        connection.patience = self._settings.read_timeout * 1.5  # the server's own limit, which says more, comes first
        return connection

    @contextmanager
    def _sorted(self) -> Iterator[None]:
        """psycopg's errors as what they mean."""
        try:
            yield
        except (errors.UndefinedTable, errors.UndefinedColumn) as error:
            raise InvalidConfig(
                f"{self.name} lacks Meridian's tables ({_said(error)}); create them with `projectors init`, "
                "or correct the prefix"
            ) from None
        except _PASSING as error:
            raise Transient(_said(error), sent=True) from error
        except psycopg.Error as error:  # nothing that waiting helps: also what the tables cannot hold
            raise InvalidConfig(f"{self.name} refused a statement: {_said(error)}") from None


class _Held(NamedTuple):
    """What is stored of a view."""

    vector: str
    digest: bytes


class _Write(NamedTuple):
    """A change that is to be made: its position, and what _WRITE takes. `delta` is what it does to its range's digest."""

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
    """The name of a DSN, which may be a URL or pairs: without user, password and options. Raises InvalidConfig for one that
    is none."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error:  # its text may quote the password
        raise InvalidConfig(
            "the PostgreSQL address cannot be read; write postgresql://user:password@host:5432/database, and what is "
            "special in the password percent-encoded"
        ) from None
    if "://" in dsn:
        return checked(dsn)
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    return f"postgresql://{host}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"


def _bits(digest: bytes) -> str:
    """A digest as the text of a bit(256)."""
    return f"{int.from_bytes(digest):0256b}"


def _row(key: ViewKey) -> tuple[str, int, str, str]:
    """A key in the order of the table's primary key."""
    return key.projection, key.version, key.row, key.key


def _readable(text: str) -> tuple[str, str | None]:
    """A value as SQL can read into it, and the exact text where that is another: `->>` fails on a value with a NUL in it."""
    readable = _NUL.sub(r"\1\\ufffd", text)
    return readable, None if readable == text else text


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Rows as columns: what unnest takes."""
    return [list(column) for column in zip(*rows, strict=True)]


def _chunks(writes: list[_Write]) -> Iterator[list[_Write]]:
    """In the order in which locks are taken, what is new first, and almost always one: PostgreSQL takes no statement of a
    gigabyte."""
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
    """Vector, state, value and digest."""
    vector, state, value, digest = record[4:]
    return vector, state, value, bytes(digest)


def _said(error: psycopg.Error) -> str:
    """The first line of an error, without the user: never a statement's parameters."""
    lines = str(error).strip().splitlines()
    return _USER.sub(r"\1 …", lines[0]) if lines else type(error).__name__
