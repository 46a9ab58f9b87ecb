"""The sink on Redis 6 or later: a cache of views. A view changes in one script, with its index and its range's digest.

Losing the cache, or any view in it, is safe: a view that is not there is folded anew from the events.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha1
from itertools import islice
from typing import Any, TypeVar

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from projectors.sinks.port import Change
from projectors.sinks.ranged import Ranged
from projectors.summary import LEAF_DIGITS, Fingerprint, Range, Summary, place
from projectors.view import View, ViewKey
from replicator.domain.vector import VersionVector
from replicator.errors import DamagedEvent, InvalidConfig, RegionUnavailable
from replicator.retries import Transient, transient
from replicator.settings import Settings

T = TypeVar("T")

_PAGE = 500
_FIELDS = ("vector", "state", "value", "digest")
_COUNT = "#"  # the field of the ranges that counts all views; leaves are hexadecimal
_STALE = "!"  # the field that says that a view was evicted, so that its range cannot be kept up any more

# What all scripts share. KEYS: view, index, ranges, cells (of its row; never used for a view that is no cell).
_COMMON = """
local function xor(a, b)
  local out = {}
  for i = 1, 32 do out[i] = string.char(bit.bxor(a:byte(i), b:byte(i))) end
  return table.concat(out)
end
local zero = string.rep('\\0', 32)
local function range(leaf, count, delta)
  local held = redis.call('HGET', KEYS[3], leaf)
  local number, digest = 0, zero
  if held then number, digest = tonumber(held:sub(33)), held:sub(1, 32) end
  number = number + count
  if number == 0 then redis.call('HDEL', KEYS[3], leaf)
  else redis.call('HSET', KEYS[3], leaf, xor(digest, delta) .. number) end
  if count ~= 0 and redis.call('HINCRBY', KEYS[3], '#', count) == 0 then redis.call('DEL', KEYS[3]) end
end
"""
# ARGV: leaf, member, key, row, before, vector, state, value, digest. `before` is empty where there is to be no view.
_SAVE = (
    _COMMON
    + """
local old = redis.call('HMGET', KEYS[1], 'vector', 'digest')
if (old[1] or '') ~= ARGV[5] then
  return (old[1] == ARGV[6] and old[2] == ARGV[9]) and 1 or 0
end
redis.call('HSET', KEYS[1], 'vector', ARGV[6], 'state', ARGV[7], 'value', ARGV[8], 'digest', ARGV[9])
if redis.call('ZADD', KEYS[2], 0, ARGV[2]) == 1 then range(ARGV[1], 1, ARGV[9])
elseif old[2] then range(ARGV[1], 0, xor(old[2], ARGV[9]))
else redis.call('HSET', KEYS[3], '!', 1) end
if ARGV[4] ~= '' then redis.call('ZADD', KEYS[4], 0, ARGV[3]) end
return 1
"""
)
# ARGV: leaf, member, key, row.
_INDEX = (
    _COMMON
    + """
local digest = redis.call('HGET', KEYS[1], 'digest')
if not digest then return 0 end
if redis.call('ZADD', KEYS[2], 0, ARGV[2]) == 1 then range(ARGV[1], 1, digest) end
if ARGV[4] ~= '' then redis.call('ZADD', KEYS[4], 0, ARGV[3]) end
return 1
"""
)
_DROP = (
    _COMMON
    + """
local digest = redis.call('HGET', KEYS[1], 'digest')
if redis.call('ZREM', KEYS[2], ARGV[2]) == 1 then
  if digest then range(ARGV[1], -1, digest) else redis.call('HSET', KEYS[3], '!', 1) end
end
if ARGV[4] ~= '' then redis.call('ZREM', KEYS[4], ARGV[3]) end
return redis.call('DEL', KEYS[1])
"""
)
_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.MasterDownError,
)


class _Script:
    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


_SAVING, _INDEXING, _DROPPING = _Script(_SAVE), _Script(_INDEX), _Script(_DROP)


class RedisSink:
    """A Sink in a Redis database. `url` is `redis://user:password@host:port/number`, `rediss://` with TLS.

    Every key begins with `prefix` (the settings' own where it is empty), and those of one projection's version share a hash
    tag. It speaks to one server: not to a cluster that redirects. Threads may share it; `close` ends its connections.
    """

    def __init__(self, url: str, settings: Settings, prefix: str = "") -> None:
        self._settings = settings
        self._prefix = prefix or settings.prefix
        try:
            self._client: Any = redis.Redis.from_url(
                url,
                socket_connect_timeout=settings.connect_timeout,
                socket_timeout=settings.read_timeout,
                socket_keepalive=True,
                retry=Retry(NoBackoff(), 0),  # retries are ours: replicator/retries.py
                decode_responses=False,
            )
        except (ValueError, TypeError):  # the text may quote the password
            raise InvalidConfig(
                "the Redis address cannot be read; write redis://user:password@host:6379/0, and what is special in the "
                "password percent-encoded"
            ) from None
        at = self._client.connection_pool.connection_kwargs
        self.name = f"redis://{at.get('host', at.get('path', 'localhost'))}:{at.get('port', 6379)}/{at.get('db', 0)}"

    def check(self) -> str:
        """Reach the server; what it does when its memory is full (`maxmemory-policy`), empty where it does not say."""
        self._call(self._client.ping)
        try:
            answer: Any = self._call(lambda: self._client.config_get("maxmemory-policy"))
        except InvalidConfig:  # managed servers have no CONFIG
            return ""
        return next((_text(value) for value in answer.values()), "")

    def close(self) -> None:
        """End the connections. The sink can still be used."""
        self._client.close()

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        wanted = list(set(keys))
        found: dict[ViewKey, View] = {}
        for start in range(0, len(wanted), _PAGE):
            for view in self._read(wanted[start : start + _PAGE]):
                found[view.id] = view
        return found

    def _read(self, keys: Sequence[ViewKey]) -> Iterator[View]:
        """The views that are there. A cell that is gone while its row still lists it was evicted: made anew of the events to
        come it would be wrong, since the rest of its stream is known as folded."""
        gone = []
        for key, fields in zip(keys, self._fields(keys, _FIELDS), strict=True):
            if any(field is not None for field in fields):
                yield _view(key, fields)
            elif key.row:
                gone.append(key)
        for key, listed in zip(gone, self._listed(gone), strict=True):
            if listed:
                raise DamagedEvent(
                    f"row {key.row} of {key.projection} lost the cell of {key.key}: evicted; rebuild the projection"
                )

    def _listed(self, cells: Sequence[ViewKey]) -> list[bool]:
        def read() -> Any:
            with self._client.pipeline(transaction=False) as pipeline:
                for key in cells:
                    pipeline.zscore(self._keys(key)[3], key.key)
                return pipeline.execute()

        return [score is not None for score in self._call(read)] if cells else []

    def _fields(self, keys: Sequence[ViewKey], names: Sequence[str]) -> list[Any]:
        def read() -> Any:
            with self._client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hmget(self._keys(key)[0], names)
                return pipeline.execute()

        return list(self._call(read)) if keys else []

    def save(self, changes: Sequence[Change]) -> list[bool]:
        calls = []
        for change in changes:
            view = change.view
            before = "" if change.before is None else str(change.before)
            fields = (before, str(view.vector), view.state_text, view.value_text, view.digest)
            calls.append((view.id, fields))
        return [bool(answer) for answer in self._script(_SAVING, calls)]

    def _script(self, script: _Script, calls: Sequence[tuple[ViewKey, Sequence[str | bytes]]]) -> list[int]:
        """Run a script for each of these views, in one round trip. Where Redis has forgotten it, it is loaded first."""

        def run() -> list[int]:
            answers: list[Any] = [None] * len(calls)
            waiting = list(range(len(calls)))
            for attempt in range(2):
                with self._client.pipeline(transaction=False) as pipeline:
                    if attempt:
                        pipeline.script_load(script.text)
                    for n in waiting:
                        key, arguments = calls[n]
                        pipeline.evalsha(script.sha, 4, *self._keys(key), *_place(key), *arguments)
                    got = pipeline.execute(raise_on_error=False)[attempt:]
                for n, answer in zip(waiting, got, strict=True):
                    answers[n] = answer
                waiting = [n for n in waiting if isinstance(answers[n], exceptions.NoScriptError)]
                if not waiting:
                    break
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

        return self._call(run) if calls else []

    def views(self, projection: str, version: int = 1) -> Iterator[View]:
        self._mended(projection, version)
        members = self._members(projection, version, "", "g")
        while keys := [_key(projection, version, member) for member in islice(members, _PAGE)]:
            yield from self._read(keys)

    def cells(self, projection: str, version: int, row: str) -> Iterator[View]:
        """Raises DamagedEvent where a cell was evicted, as load does: the row would be wrong without it."""
        if not row:
            return
        name = self._keys(ViewKey(projection, "", version, row))[3]
        owners = [_text(owner) for owner in self._call(lambda: self._client.zrange(name, 0, -1))]
        for start in range(0, len(owners), _PAGE):
            keys = [ViewKey(projection, owner, version, row) for owner in owners[start : start + _PAGE]]
            yield from self._read(keys)

    def summary(self, projection: str, version: int = 1) -> Summary:
        """The ranges at one moment; views are read when a range is looked into. Where parts of the index were evicted, it is
        made again first."""
        ranges = self._mended(projection, version)
        leaves = {
            _text(name): Range(int(held[32:]), held[:32])
            for name, held in ranges.items()
            if _text(name) not in (_COUNT, _STALE)
        }

        def rows(prefix: str) -> Mapping[ViewKey, Fingerprint]:
            keys = [_key(projection, version, member) for member in self._members(projection, version, prefix, prefix + "g")]
            found = {}
            for key, (vector, digest) in zip(keys, self._fields(keys, ("vector", "digest")), strict=True):
                if vector is not None:
                    found[key] = Fingerprint(VersionVector.parse(_text(vector)), digest or b"")
            return found

        return Ranged(leaves, rows)

    def drop(self, projection: str, version: int) -> Iterator[int]:
        self._mended(projection, version)
        gone = 0
        while members := list(islice(self._members(projection, version, "", "g"), _PAGE)):
            self._script(_DROPPING, [(_key(projection, version, member), ()) for member in members])
            gone += len(members)
            yield gone

    def reindex(self, projection: str, version: int = 1) -> None:
        """Make the index and the ranges again from the views that are there. Savers need not wait."""
        _, index, ranges, _ = self._keys(ViewKey(projection, "", version))
        self._call(lambda: self._client.delete(index, ranges))
        begin = self._space(projection, version) + "v#"
        pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", begin) + "*"
        cursor = 0
        while True:
            cursor, names = self._call(partial(self._client.scan, cursor, match=pattern, count=1000))
            keys = []
            for name in names:
                row, _, key = _text(name)[len(begin) :].partition("#")
                keys.append(ViewKey(projection, key, version, row))
            self._script(_INDEXING, [(key, ()) for key in keys])
            if not cursor:
                return

    def _mended(self, projection: str, version: int) -> dict[bytes, bytes]:
        """The ranges, after making them again where they cannot be the index's."""
        _, index, ranges, _ = self._keys(ViewKey(projection, "", version))

        def look() -> tuple[dict[bytes, bytes], bool]:
            def read() -> Any:
                with self._client.pipeline(transaction=True) as pipeline:
                    pipeline.hgetall(ranges)
                    pipeline.zcard(index)
                    return pipeline.execute()

            held, count = self._call(read)
            return held, _STALE.encode() not in held and int(held.get(_COUNT.encode(), 0)) == count

        held, sound = look()
        if not sound:
            self.reindex(projection, version)
            held, _ = look()
        return held

    def _members(self, projection: str, version: int, low: str, high: str) -> Iterator[str]:
        """The index's members from `low` to before `high`, in order; those of a range begin with its prefix."""
        index = self._keys(ViewKey(projection, "", version))[1]
        after = f"[{low}" if low else "-"
        while page := self._call(partial(self._client.zrangebylex, index, after, f"({high}", start=0, num=_PAGE)):
            members = [_text(member) for member in page]
            yield from members
            after = f"({members[-1]}"

    def _keys(self, key: ViewKey) -> tuple[str, str, str, str]:
        """Where a view, its projection's index and ranges, and its row's cells are kept. No name holds a '#'."""
        space = self._space(key.projection, key.version)
        return f"{space}v#{key.row}#{key.key}", f"{space}i", f"{space}r", f"{space}c#{key.row}"

    def _space(self, projection: str, version: int) -> str:
        return f"{self._prefix}{{{projection}@{version}}}"

    def _call(self, operation: Callable[[], T]) -> T:
        def once() -> T:
            try:
                return operation()
            except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
                raise InvalidConfig(f"{self.name} refuses the credentials: {error}. Correct the sink's address") from None
            except _PASSING as error:
                raise Transient(f"{type(error).__name__}: {error}", sent=True) from error
            except exceptions.RedisError as error:
                raise InvalidConfig(f"{self.name} refused a request: {error}") from None

        try:
            return transient(self._settings.attempts)(once)
        except Transient as error:
            raise RegionUnavailable(f"{self.name} does not answer ({error}); what waits for it is kept") from error


def _place(key: ViewKey) -> tuple[str, str, str, str]:
    """A view's leaf, its member in the index, its key and its row."""
    where = place(key.key, key.row)
    return where[:LEAF_DIGITS], f"{where}{key.row}#{key.key}", key.key, key.row


def _key(projection: str, version: int, member: str) -> ViewKey:
    row, _, key = member[64:].partition("#")
    return ViewKey(projection, key, version, row)


def _view(key: ViewKey, fields: Sequence[bytes | None]) -> View:
    of = f"{key.projection} {key.key}" + (f" in row {key.row}" if key.row else "")
    try:
        vector, state, value, digest = fields
        if vector is None or state is None or value is None:
            raise ValueError
        parsed = VersionVector.parse(vector.decode())
        view = View(key.projection, key.version, key.key, parsed, state.decode(), value.decode(), key.row)
    except ValueError:
        raise DamagedEvent(f"view {of} is not whole; rebuild it from the events") from None
    if view.digest != digest:
        raise DamagedEvent(f"view {of} does not match its digest; rebuild it from the events")
    return view


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
