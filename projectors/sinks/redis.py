"""Sink on Redis 6 or later: a cache of views. A view changes in one script, with its index and its range's digest.

Losing the cache, or any view in it, is safe: a view that is not there is folded again from the events.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha1
from itertools import chain, islice
from typing import Any, TypeVar
from uuid import uuid4

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from projectors.engine.digests import LEAF_DIGITS, Fingerprint, Range, Summary, Tree, place
from projectors.engine.sink import Change, ViewRefused
from projectors.model.view import View, ViewKey
from projectors.sinks.address import checked
from projectors.sinks.ranged import Ranged
from projectors.sinks.stored import claimed, fingerprint, restored, text
from replicator.domain.errors import DamagedEvent, InvalidConfig, RegionUnavailable
from replicator.runtime.retries import Transient, transient
from replicator.runtime.settings import Settings

T = TypeVar("T")

_PAGE = 500
_WRONG_TYPE = "WRONGTYPE"
_FIELDS = ("vector", "state", "value", "digest")
_COUNT = "#"  # the field of the ranges that counts all views; leaves are hexadecimal
_FIELDS_BESIDE = (b"#", b"!", b"~")  # beside the leaves; the last says which process began to make them from nothing
_STALE = "!"  # the field that says that index and ranges are wrong, after an eviction. With a name behind it: that they are
# being made, right in what they have and not yet whole.

# Shared by all scripts. KEYS: view, index, ranges, cells (of its row; never used for a view that is no cell).
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
  if count ~= 0 and redis.call('HINCRBY', KEYS[3], '#', count) == 0 then redis.call('HDEL', KEYS[3], '#') end
end
"""
# ARGV: leaf, member, key, row, before, vector, state, value, digest. `before` is empty when no view may exist.
_SAVE = (
    _COMMON
    + """
local old = redis.call('HMGET', KEYS[1], 'vector', 'digest')
if (old[1] or '') ~= ARGV[5] then
  return (old[1] == ARGV[6] and old[2] == ARGV[9]) and 1 or 0
end
redis.call('HSET', KEYS[1], 'vector', ARGV[6], 'state', ARGV[7], 'value', ARGV[8], 'digest', ARGV[9])
if redis.call('ZADD', KEYS[2], 0, ARGV[2]) == 1 then range(ARGV[1], 1, ARGV[9])
elseif old[2] and #old[2] == 32 then range(ARGV[1], 0, xor(old[2], ARGV[9]))
else redis.call('HSET', KEYS[3], '!', 1) end
if ARGV[4] ~= '' then redis.call('ZADD', KEYS[4], 0, ARGV[3]) end
return 1
"""
)
# ARGV: leaf, member, key, row.
_INDEX = (
    _COMMON
    + """
local digest = redis.pcall('HGET', KEYS[1], 'digest')
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if type(digest) ~= 'string' or #digest ~= 32 then digest = redis.sha1hex(KEYS[1]):sub(1, 32) end
if redis.call('ZADD', KEYS[2], 0, ARGV[2]) == 1 then range(ARGV[1], 1, digest) end
if ARGV[4] ~= '' then redis.call('ZADD', KEYS[4], 0, ARGV[3]) end
return 1
"""
)
# ARGV: leaf, member, key, row, digest: the one that the view has in its range, '*' for the stored one, empty where unknown.
_DROP = (
    _COMMON
    + """
local digest = redis.pcall('HGET', KEYS[1], 'digest')
if type(digest) ~= 'string' or #digest ~= 32 or (ARGV[5] ~= '*' and digest ~= ARGV[5]) then digest = false end
if redis.call('ZREM', KEYS[2], ARGV[2]) == 1 then
  if digest then range(ARGV[1], -1, digest) else redis.call('HSET', KEYS[3], '!', 1) end
end
if ARGV[4] ~= '' then redis.call('ZREM', KEYS[4], ARGV[3]) end
return redis.call('DEL', KEYS[1])
"""
)
# KEYS: ranges, index. ARGV: the maker's mark. A maker that comes while another is at work joins in: the entries that
# exist are right. Returns who began from nothing, and the marks that were there: a whole scan from now on ends those.
_BEGIN = """
local marks, held = {}, redis.call('HGETALL', KEYS[1])
local count, wrong = 0, false
for i = 1, #held, 2 do
  if held[i] == '#' then count = tonumber(held[i + 1]) end
  if held[i] == '!' then wrong = true end
  if held[i]:sub(1, 1) == '!' then marks[#marks + 1] = held[i] end
end
if wrong or #marks == 0 or count ~= redis.call('ZCARD', KEYS[2]) then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], '~', ARGV[1])
  marks = {}
end
redis.call('HSET', KEYS[1], ARGV[1], 1)
return {redis.call('HGET', KEYS[1], '~') or '', unpack(marks)}
"""
# ARGV: what _BEGIN returned, and the maker's own mark. 0: another has begun from nothing meanwhile.
_END = """
if (redis.call('HGET', KEYS[1], '~') or '') ~= ARGV[1] then return 0 end
for i = 2, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
if redis.call('HLEN', KEYS[1]) == 1 then redis.call('HDEL', KEYS[1], '~') end
return 1
"""
# For a drop: entries without any view are removed, unless a maker is at work.
_EMPTIED = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if name:sub(1, 1) == '!' and #name > 1 then return 0 end
end
return redis.call('DEL', KEYS[1])
"""
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
# The same by their text: the client has no class for some, and Redis 6 wraps the errors of scripts.
_PASSES = re.compile(r"(^|[ -])(OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|BUSY|LOADING|TRYAGAIN|CLUSTERDOWN) ")
_USER = re.compile(r"\b([Uu]ser) \S+ has no permissions")


_NOT_OURS = b"\xff"


class _Script:
    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


_SAVING, _INDEXING, _DROPPING = _Script(_SAVE), _Script(_INDEX), _Script(_DROP)


class RedisSink:
    """Sink in a Redis database. `url` is `redis://user:password@host:port/number`, `rediss://` with TLS.

    Every key begins with `prefix` (the settings' own if it is empty), and those of one projection's version share a hash
    tag. It connects to one server: not to a cluster that redirects. Threads may share it; `close` ends its connections.
    """

    def __init__(self, url: str, settings: Settings, prefix: str = "") -> None:
        self._settings = settings
        self._prefix = prefix or settings.prefix
        self.name = checked(url)
        try:
            self._client: Any = redis.Redis.from_url(
                url,
                socket_connect_timeout=settings.connect_timeout,
                socket_timeout=settings.read_timeout,
                socket_keepalive=True,
                retry=Retry(NoBackoff(), 0),  # retries are ours: replicator/runtime/retries.py
                decode_responses=False,
            )
        except (ValueError, TypeError):  # the text may quote the password
            raise InvalidConfig(
                "the Redis address cannot be read; write redis://user:password@host:6379/0, with special characters in the "
                "password percent-encoded"
            ) from None

    def check(self) -> str:
        """Connect to the server. Returns its policy when its memory is full (`maxmemory-policy`), empty if it does not
        say."""
        self._call(self._client.ping)
        try:
            answer: Any = self._call(lambda: self._client.config_get("maxmemory-policy"))
        except InvalidConfig:  # managed servers have no CONFIG
            return ""
        return next((_text(value) for value in answer.values()), "")

    def close(self) -> None:
        """Close the connections. The sink can still be used."""
        self._client.close()

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        wanted = list(set(keys))
        found: dict[ViewKey, View] = {}
        for start in range(0, len(wanted), _PAGE):
            for view in self._read(wanted[start : start + _PAGE]):
                found[view.id] = view
        return found

    def _read(self, keys: Sequence[ViewKey]) -> Iterator[View]:
        """Yield the views that exist. A cell that is gone while its row still lists it was evicted: made anew of later
        events it would be wrong, since the rest of its stream is known as folded."""
        gone = []
        for key, fields in zip(keys, self._fields(keys, _FIELDS), strict=True):
            if any(field is not None for field in fields):
                yield _view(key, fields)
            elif key.row:
                gone.append(key)
        for key, (fields, listed) in zip(gone, self._cells(gone), strict=True):
            if any(field is not None for field in fields):  # another process has made it since
                yield _view(key, fields)
            elif listed:
                raise DamagedEvent(
                    f"row {key.row} of {key.projection} lost the cell of {key.key}: evicted; rebuild the projection"
                )

    def _cells(self, cells: Sequence[ViewKey]) -> list[tuple[Any, bool]]:
        """Return the fields of each, and whether its row lists it: both at one moment."""

        def read() -> Any:
            with self._client.pipeline(transaction=True) as pipeline:
                for key in cells:
                    view, _, _, row = self._keys(key)
                    pipeline.hmget(view, _FIELDS)
                    pipeline.zscore(row, key.key)
                return pipeline.execute()

        answers = list(self._call(read)) if cells else []
        return [(fields, score is not None) for fields, score in zip(answers[::2], answers[1::2], strict=True)]

    def _fields(self, keys: Sequence[ViewKey], names: Sequence[str]) -> list[Any]:
        def read() -> Any:
            with self._client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hmget(self._keys(key)[0], names)
                answers = pipeline.execute(raise_on_error=False)
            for n, answer in enumerate(answers):
                if isinstance(answer, exceptions.ResponseError) and str(answer).startswith(_WRONG_TYPE):
                    answers[n] = [_NOT_OURS] * len(names)  # the keys were changed by other hands
                elif isinstance(answer, Exception):
                    raise answer
            return answers

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
        """Run a script for each of these views, in one round trip. Loads it first if Redis has forgotten it."""

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
            for (key, _), answer in zip(calls, answers, strict=True):
                if isinstance(answer, exceptions.ResponseError) and _WRONG_TYPE in str(answer):
                    raise ViewRefused(f"{self.name} holds something else under the key of view {key.key}: {_said(answer)}")
                if isinstance(answer, Exception):
                    raise answer
            return answers

        return self._call(run) if calls else []

    def views(self, projection: str, version: int = 1) -> Iterator[View]:
        """Yield every view, by a scan of the keys: also those that the index lost."""
        seen: set[ViewKey] = set()  # a scan may return a key twice
        keys = self._scanned(projection, version)
        while page := list(islice(keys, _PAGE)):
            new = list(dict.fromkeys(key for key in page if key not in seen))
            seen.update(new)
            yield from self._read(new)

    def _scanned(self, projection: str, version: int, part: str = "v#") -> Iterator[ViewKey]:
        """Yield the keys of all views that exist from the beginning of the scan to its end, some of them twice. `part`:
        `v##` for those that are no cells, `v#` for all, `c#` for rows: their keys name the row only."""
        space = self._space(projection, version)
        begin = len(space) + 2
        pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", space + part) + "*"
        cursor = 0
        while True:
            cursor, names = self._call(partial(self._client.scan, cursor, match=pattern, count=1000))
            for name in names:
                row, _, key = _text(name)[begin:].partition("#")
                yield ViewKey(projection, key, version, row)
            if not cursor:
                return

    def cells(self, projection: str, version: int, row: str) -> Iterator[View]:
        """Yield a row's cells. Raises DamagedEvent if a cell was evicted, as load does: without it the row would be
        wrong."""
        if not row:
            return
        name = self._keys(ViewKey(projection, "", version, row))[3]
        owners = [_text(owner) for owner in self._call(lambda: self._client.zrange(name, 0, -1))]
        for start in range(0, len(owners), _PAGE):
            keys = [ViewKey(projection, owner, version, row) for owner in owners[start : start + _PAGE]]
            yield from self._read(keys)

    def summary(self, projection: str, version: int = 1, *, thorough: bool = False) -> Summary:
        """Return the ranges at one moment; views are read when a range is looked into. An untrustworthy index is made again
        first. A thorough summary reads every view and no index."""
        if thorough:
            return Tree(self._fingerprints(projection, version))
        ranges = self._mended(projection, version)
        leaves = {
            _text(name): Range(int(held[32:]), held[:32]) for name, held in ranges.items() if name[:1] not in _FIELDS_BESIDE
        }

        def rows(prefix: str) -> Mapping[ViewKey, Fingerprint]:
            keys = [_key(projection, version, member) for member in self._members(projection, version, prefix, prefix + "g")]
            found = {}
            for key, (vector, digest) in zip(keys, self._fields(keys, ("vector", "digest")), strict=True):
                if vector is not None or digest is not None:
                    found[key] = claimed(text(vector), digest)
            return found

        return Ranged(leaves, rows)

    def _fingerprints(self, projection: str, version: int) -> Iterator[tuple[ViewKey, Fingerprint]]:
        keys = self._scanned(projection, version)
        while page := list(islice(keys, _PAGE)):
            for key, fields in zip(page, self._fields(page, _FIELDS), strict=True):
                if any(field is not None for field in fields):
                    yield key, fingerprint(key, *_stored(fields))

    def discard(self, keys: Collection[ViewKey]) -> None:
        wanted = list(set(keys))
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]
            calls: list[tuple[ViewKey, Sequence[str | bytes]]] = []
            for key, fields in zip(page, self._fields(page, _FIELDS), strict=True):
                there = any(field is not None for field in fields)
                sound = there and fingerprint(key, *_stored(fields)).digest == fields[-1]
                calls.append((key, (fields[-1] if sound else "",)))
            self._script(_DROPPING, calls)

    def drop(self, projection: str, version: int) -> Iterator[int]:
        """Remove the views by scans of the keys, also those that the index lost; then the entries of evicted views."""
        gone = 0
        for part in ("v##", "v#"):
            keys = self._scanned(projection, version, part)
            while page := list(islice(keys, _PAGE)):
                gone += sum(self._script(_DROPPING, [(key, ("*",)) for key in page]))
                yield gone
        _, index, ranges, _ = self._keys(ViewKey(projection, "", version))
        evicted = chain(
            (_key(projection, version, member) for member in self._members(projection, version, "", "g")),
            self._listed(projection, version),
        )
        while page := list(islice(evicted, _PAGE)):
            self._script(_DROPPING, [(key, ("*",)) for key in page])
        self._call(lambda: self._client.eval(_EMPTIED, 2, ranges, index))

    def _listed(self, projection: str, version: int) -> Iterator[ViewKey]:
        """Yield the cells that rows list."""
        for row in self._scanned(projection, version, "c#"):
            for owner in self._call(partial(self._client.zrange, self._keys(row)[3], 0, -1)):
                yield row._replace(key=_text(owner))

    def _made(self, projection: str, version: int) -> dict[bytes, bytes]:
        """Make the index and the ranges again from the views that exist. Returns the ranges. Writers need not wait; a run
        that is cut short leaves a mark, and is made again."""
        _, index, ranges, _ = self._keys(ViewKey(projection, "", version))

        def make() -> dict[bytes, bytes]:
            mark = _STALE + uuid4().hex
            before = self._call(lambda: self._client.eval(_BEGIN, 2, ranges, index, mark))
            keys = self._scanned(projection, version)
            while page := list(islice(keys, _PAGE)):
                self._script(_INDEXING, [(key, ()) for key in page])

            def end() -> Any:
                with self._client.pipeline(transaction=True) as pipeline:
                    pipeline.eval(_END, 1, ranges, *before, mark)
                    pipeline.hgetall(ranges)
                    pipeline.zcard(index)
                    return pipeline.execute()

            whole, held, count = self._call(end)
            if not whole or not _sound(held, count):
                raise Transient("its index is being changed concurrently", sent=False)
            return dict(held)

        return self._tried(make)

    def _mended(self, projection: str, version: int) -> dict[bytes, bytes]:
        """Return the ranges, made again if they cannot be the index's. A missing index proves nothing."""
        _, index, ranges, _ = self._keys(ViewKey(projection, "", version))

        def read() -> Any:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hgetall(ranges)
                pipeline.zcard(index)
                return pipeline.execute()

        held, count = self._call(read)
        marked = any(name.startswith(_STALE.encode()) for name in held)
        return held if count and not marked and _sound(held, count) else self._made(projection, version)

    def _members(self, projection: str, version: int, low: str, high: str) -> Iterator[str]:
        """Yield the index's members from `low` to before `high`, in order; those of a range begin with its prefix."""
        index = self._keys(ViewKey(projection, "", version))[1]
        after = f"[{low}" if low else "-"
        while page := self._call(partial(self._client.zrangebylex, index, after, f"({high}", start=0, num=_PAGE)):
            members = [_text(member) for member in page]
            yield from members
            after = f"({members[-1]}"

    def _keys(self, key: ViewKey) -> tuple[str, str, str, str]:
        """Return the keys of a view, its projection's index and ranges, and its row's cells. No name holds a '#'."""
        space = self._space(key.projection, key.version)
        return f"{space}v#{key.row}#{key.key}", f"{space}i", f"{space}r", f"{space}c#{key.row}"

    def _space(self, projection: str, version: int) -> str:
        return f"{self._prefix}{{{projection}@{version}}}"

    def _call(self, operation: Callable[[], T]) -> T:
        def once() -> T:
            try:
                return operation()
            except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
                raise InvalidConfig(
                    f"{self.name} refuses the credentials: {_said(error)}. Correct the sink's address"
                ) from None
            except _PASSING as error:
                raise Transient(f"{type(error).__name__}: {error}", sent=True) from error
            except exceptions.RedisError as error:
                if passes := _PASSES.search(str(error)):
                    raise Transient(f"{passes[2]}: {error}", sent=True) from error
                raise InvalidConfig(f"{self.name} refused a request: {_said(error)}") from None

        return self._tried(once)

    def _tried(self, once: Callable[[], T]) -> T:
        try:
            return transient(self._settings.attempts)(once)
        except Transient as error:
            raise RegionUnavailable(f"{self.name} does not answer ({error}); pending work for it is kept") from error


def _place(key: ViewKey) -> tuple[str, str, str, str]:
    """Return a view's leaf, its member in the index, its key and its row."""
    where = place(key.key, key.row)
    return where[:LEAF_DIGITS], f"{where}{key.row}#{key.key}", key.key, key.row


def _key(projection: str, version: int, member: str) -> ViewKey:
    row, _, key = member[64:].partition("#")
    return ViewKey(projection, key, version, row)


def _view(key: ViewKey, fields: Sequence[bytes | None]) -> View:
    return restored(key, *_stored(fields))


def _sound(ranges: Mapping[bytes, bytes], count: int) -> bool:
    """Return whether these can be the ranges of an index of `count` views."""
    return _STALE.encode() not in ranges and int(ranges.get(_COUNT.encode(), 0)) == count


def _stored(fields: Sequence[bytes | None]) -> tuple[Any, Any, Any, Any]:
    vector, state, value, digest = fields
    return text(vector), text(state), text(value), digest


def _said(error: exceptions.RedisError) -> str:
    """Return an error's text without the user."""
    return _USER.sub(r"\1 has no permissions", str(error))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
