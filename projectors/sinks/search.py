"""Sink on OpenSearch 2.7 or later: a document a view, written only while it has the sequence number that was read."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from opensearchpy import OpenSearch, Urllib3HttpConnection
from opensearchpy import exceptions as failures

from projectors.engine.digests import Summary, Tree, place
from projectors.engine.sink import Change, ViewRefused
from projectors.model.view import View, ViewKey
from projectors.sinks.address import checked
from projectors.sinks.stored import fingerprint, restored
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.runtime.retries import Transient, transient
from replicator.runtime.settings import Settings

T = TypeVar("T")

MAX_ID_BYTES = 512
MAX_WORD = 1024
"""Maximum characters of a text that is searched; the rest is cut off: Lucene refuses terms of more than 32,766 bytes."""
_BULK_BYTES = 5 * 1024 * 1024
_BULK_ACTIONS = 500
_PAGE = 100
_FINGERPRINTS = 1000
_DROP = 1000
_KEEP = "2m"
_STORED = ("projection", "version", "row", "key", "vector", "state_text", "value_text", "digest")
_PASSING = {408, 429, 500, 502, 503, 504}
_CONFLICT = 409
_REFUSED = 400
_USER = re.compile(r"[Uu]ser \[[^\]]*\]|[Uu]ser \S+(?= (has|is))")

_KEYWORD = {"type": "keyword"}
_KEPT = {"type": "keyword", "index": False, "doc_values": False}
_MAPPINGS = {
    "dynamic": "strict",
    "properties": {
        "projection": _KEYWORD,
        "version": {"type": "integer"},
        "row": _KEYWORD,
        "key": _KEYWORD,
        "place": _KEYWORD,
        "value": {"type": "flat_object"},
        "words": {"type": "text"},
        "vector": _KEPT,
        "state_text": _KEPT,
        "value_text": _KEPT,
        "digest": {"type": "binary"},
    },
}


class _Held(NamedTuple):
    """Stored state of a view, and the numbers that a write must name."""

    source: dict[str, Any]
    seq_no: int
    primary_term: int

    def is_at(self, view: View) -> bool:
        return bool(self.source.get("vector") == str(view.vector) and _bytes(self.source.get("digest")) == view.digest)


class SearchSink:
    """Sink on the index behind the alias `{prefix}-views`. `url` is `opensearch+https://user:password@host:port`.

    Requests to Amazon's domains (`….amazonaws.com`) are signed if the address has no user. Threads may share it; `close`
    ends its connections. It keeps no digests of ranges: a summary reads a fingerprint of every view.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self._settings = settings
        self.name = checked(url)
        if settings.prefix != settings.prefix.lower():  # otherwise two prefixes would share one index
            raise InvalidConfig(
                f"prefix {settings.prefix!r} has upper case, which OpenSearch does not allow in names; use "
                f"{settings.prefix.lower()!r}"
            )
        try:
            parts = urlsplit(url.removeprefix("opensearch+"))
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https"):  # not shown: it may hold a password
            raise InvalidConfig("the OpenSearch address cannot be read; write opensearch+https://user:password@host:9200")
        port = port or (443 if parts.scheme == "https" else 9200)
        self._alias = f"{settings.prefix}-views"
        user = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._client = OpenSearch(
            hosts=[{"host": host, "port": port, "url_prefix": parts.path.strip("/")}],
            use_ssl=parts.scheme == "https",
            verify_certs=True,
            http_auth=user or _signer(host),
            connection_class=Urllib3HttpConnection,
            timeout=settings.read_timeout,
            max_retries=0,  # retries are ours: replicator/runtime/retries.py
            retry_on_timeout=False,
            http_compress=False,
        )

    def create_index(self, shards: int = 1) -> None:
        """Create the index and its alias if there are none."""
        if self._call(lambda: self._client.indices.exists_alias(name=self._alias)):
            return
        body = {
            "settings": {"number_of_shards": shards},
            "mappings": _MAPPINGS,
            "aliases": {self._alias: {"is_write_index": True}},
        }
        try:
            self._call(lambda: self._client.indices.create(index=f"{self._alias}-1", body=body))
        except InvalidConfig as error:
            if "resource_already_exists_exception" not in str(error):
                raise

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        return {key: _view(held.source, key) for key, held in self._held(list(set(keys)), _STORED).items()}

    def _held(self, keys: Sequence[ViewKey], fields: Sequence[str]) -> dict[ViewKey, _Held]:
        """Return the documents of these views in their present state, whether or not a search sees it yet."""
        found: dict[ViewKey, _Held] = {}
        size = _PAGE if "value_text" in fields else _FINGERPRINTS
        for start in range(0, len(keys), size):
            wanted = keys[start : start + size]
            body = {"ids": [_id(key) for key in wanted]}
            params = {"_source_includes": ",".join(fields)}
            answer = self._call(partial(self._client.mget, body=body, index=self._alias, params=params))
            for key, document in zip(wanted, answer["docs"], strict=True):
                if "error" in document:
                    raise self._lacking(document["error"].get("reason", ""))
                if document["found"]:
                    found[key] = _Held(document["_source"], document["_seq_no"], document["_primary_term"])
        return found

    def save(self, changes: Sequence[Change]) -> list[bool]:
        moved = [change.view.id for change in changes if change.before is not None]
        stored = self._held(moved, ("vector", "digest")) if moved else {}
        saved = [False] * len(changes)
        actions: dict[int, tuple[dict[str, Any], str]] = {}
        for n, change in enumerate(changes):
            held = stored.get(change.view.id)
            if change.before is None:
                actions[n] = ({"create": {"_id": _id(change.view.id)}}, _document(change.view))
            elif held and held.source.get("vector") == str(change.before):
                numbers = {"if_seq_no": held.seq_no, "if_primary_term": held.primary_term}
                actions[n] = ({"index": {"_id": _id(change.view.id), **numbers}}, _document(change.view))
            else:
                saved[n] = held is not None and held.is_at(change.view)
        statuses = self._bulk(actions)
        if refused := {n for n, status in statuses.items() if status == _REFUSED}:  # its value cannot be indexed
            again = {n: (actions[n][0], _document(changes[n].view, searchable=False)) for n in refused}
            statuses |= self._bulk(again)
        if lost := [n for n, status in statuses.items() if status == _CONFLICT]:
            # A request that was sent again after its answer was lost conflicts with itself.
            now = self._held([changes[n].view.id for n in lost], ("vector", "digest"))
            for n in lost:
                held = now.get(changes[n].view.id)
                saved[n] = held is not None and held.is_at(changes[n].view)
        for n, status in statuses.items():
            if status in (200, 201):
                saved[n] = True
            elif status != _CONFLICT:
                raise ViewRefused(f"{self.name} rejected view {changes[n].view.key}: status {status}")
        return saved

    def _bulk(self, actions: Mapping[int, tuple[dict[str, Any], str]]) -> dict[int, int]:
        """Send these actions and their documents in requests of bounded size. Returns the status of each. Those refused for
        now are sent again, a bounded number of times."""
        statuses: dict[int, int] = {}

        def once() -> None:
            for chunk in _chunks({n: action for n, action in actions.items() if n not in statuses}):
                lines = [line for n in chunk for line in (json.dumps(actions[n][0], ensure_ascii=False), actions[n][1])]
                body = "\n".join(lines) + "\n"
                params = {"require_alias": "true"}  # otherwise a missing index would be made, with any mapping
                answer = self._request(partial(self._client.bulk, body=body, index=self._alias, params=params))
                for n, item in zip(chunk, answer["items"], strict=True):
                    (result,) = item.values()
                    error = result.get("error", {})
                    if error.get("type") == "index_not_found_exception":
                        raise self._lacking(error.get("reason", ""))
                    if result["status"] not in _PASSING:
                        statuses[n] = result["status"]
            if busy := len(actions) - len(statuses):
                raise Transient(f"{busy} of {len(actions)} views refused for now", sent=False)

        self._tried(once)
        return statuses

    def views(self, projection: str, version: int = 1) -> Iterator[View]:
        for source in self._search(_of(projection, version), "place", _STORED, _PAGE):
            yield _view(source)

    def cells(self, projection: str, version: int, row: str) -> Iterator[View]:
        if row:
            for source in self._search([*_of(projection, version), {"term": {"row": row}}], "key", _STORED, _PAGE):
                yield _view(source)

    def summary(self, projection: str, version: int = 1, *, thorough: bool = False) -> Summary:
        """Return a summary of every view, read at one moment."""
        sources = self._search(_of(projection, version), "place", _STORED, _PAGE)
        keyed = ((_claimed_key(source, projection, version), source) for source in sources)
        return Tree((key, fingerprint(key, *_stored(source, key))) for key, source in keyed)

    def discard(self, keys: Collection[ViewKey]) -> None:
        for key in set(keys):

            def delete(key: ViewKey = key) -> Any:
                with suppress(failures.NotFoundError):
                    return self._client.delete(index=self._alias, id=_id(key))

            self._call(delete)

    def drop(self, projection: str, version: int) -> Iterator[int]:
        whole = {"term": {"row": ""}}
        gone = 0
        for filters in ([*_of(projection, version), whole], _of(projection, version)):
            for count in self._drop(filters):
                gone += count
                yield gone

    def _drop(self, filters: Sequence[Any]) -> Iterator[int]:
        body = {"query": {"bool": {"filter": list(filters)}}}
        params = {"conflicts": "proceed", "refresh": "true", "max_docs": str(_DROP)}
        self._call(lambda: self._client.indices.refresh(index=self._alias))
        while True:
            answer = self._call(lambda: self._client.delete_by_query(index=self._alias, body=body, params=params))
            if not answer["total"]:
                return
            yield answer["deleted"]

    def _search(self, filters: Sequence[Any], order: str, fields: Sequence[str], size: int) -> Iterator[dict[str, Any]]:
        """Yield the sources of the documents that match, as of now: a refresh first, since searches lag behind writes."""
        self._call(lambda: self._client.indices.refresh(index=self._alias))
        pit = self._call(lambda: self._client.create_pit(index=self._alias, params={"keep_alive": _KEEP}))["pit_id"]
        body: dict[str, Any] = {
            "query": {"bool": {"filter": list(filters)}},
            "sort": [{order: "asc"}],
            "size": size,
            "_source": list(fields),
            "track_total_hits": False,
        }
        try:
            while True:
                request = {**body, "pit": {"id": pit, "keep_alive": _KEEP}}
                answer = self._call(partial(self._client.search, body=request))
                pit = answer.get("pit_id", pit)
                hits = answer["hits"]["hits"]
                yield from (hit["_source"] for hit in hits)
                if len(hits) < size:
                    return
                body["search_after"] = hits[-1]["sort"]
        finally:
            with suppress(Transient):  # it ends by itself
                self._request(lambda: self._client.delete_pit(body={"pit_id": [pit]}))

    def _lacking(self, reason: str) -> InvalidConfig:
        return InvalidConfig(
            f"{self.name} lacks Meridian's index behind the alias {self._alias} ({reason}); create it with "
            "`projectors init`, or correct the prefix"
        )

    def _call(self, operation: Callable[[], T]) -> T:
        return self._tried(lambda: self._request(operation))

    def _tried(self, once: Callable[[], T]) -> T:
        try:
            return transient(self._settings.attempts)(once)
        except Transient as error:
            raise RegionUnavailable(f"{self.name} does not answer ({error}); pending work for it is kept") from error

    def _request(self, operation: Callable[[], T]) -> T:
        """Make one request and translate its errors into Meridian's."""
        try:
            return operation()
        except (failures.SSLError, failures.AuthenticationException, failures.AuthorizationException) as error:
            raise InvalidConfig(f"{self.name} refuses the connection: {_said(error)}. Correct the sink's address") from None
        except failures.ConnectionError as error:
            raise Transient(type(error).__name__, sent=True) from error
        except failures.TransportError as error:
            if error.status_code in _PASSING:
                raise Transient(_said(error), sent=True) from error
            if error.error == "index_not_found_exception":
                raise self._lacking(_said(error)) from None
            raise InvalidConfig(f"{self.name} refused a request: {_said(error)}") from None


def _signer(host: str) -> Any:
    """Return the signer of requests to Amazon's domains, `….us-east-1.es.amazonaws.com`: region and service. None
    elsewhere."""
    if not host.endswith(".amazonaws.com"):
        return None
    import boto3
    from opensearchpy import Urllib3AWSV4SignerAuth

    region, service = host.removesuffix(".amazonaws.com").split(".")[-2:]
    if (credentials := boto3.Session().get_credentials()) is None:
        raise InvalidConfig(f"{host} requires signed requests, and there are no AWS credentials here; set AWS_ACCESS_KEY_ID")
    return Urllib3AWSV4SignerAuth(credentials, region, service)


def _chunks(actions: Mapping[int, tuple[dict[str, Any], str]]) -> Iterator[list[int]]:
    chunk: list[int] = []
    size = 0
    for n, (_, document) in actions.items():
        if chunk and (len(chunk) == _BULK_ACTIONS or size + len(document) > _BULK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(n)
        size += len(document)
    if chunk:
        yield chunk


def _of(projection: str, version: int) -> list[Any]:
    return [{"term": {"projection": projection}}, {"term": {"version": version}}]


def _id(key: ViewKey) -> str:
    """Return the document's id: one for each view. No name holds a '#'."""
    text = f"{key.projection}@{key.version}#{key.row}#{key.key}"
    return text if len(text.encode()) <= MAX_ID_BYTES else f"sha256#{sha256(text.encode()).hexdigest()}"


def _document(view: View, searchable: bool = True) -> str:
    """transactions that wait for it see the new digests"""
    value = _searchable(view.value) if searchable else {}
    document = {
        "projection": view.projection,
        "version": view.version,
        "row": view.row,
        "key": view.key,
        "place": place(view.key, view.row),
        "vector": str(view.vector),
        "state_text": view.state_text,
        "value_text": view.value_text,
        "digest": b64encode(view.digest).decode(),
        "value": value,
        "words": list(_words(value)),
    }
    return json.dumps(document, ensure_ascii=False)


def _searchable(value: Any) -> Any:
    """Return a value with its texts cut to what an index takes, without members whose name is empty or too long to be a
    path."""
    if isinstance(value, str):
        return value[:MAX_WORD]
    if isinstance(value, dict):
        return {name: _searchable(inner) for name, inner in value.items() if name.strip() and len(name) <= MAX_WORD}
    if isinstance(value, list):
        return [_searchable(inner) for inner in value]
    return value


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _words(inner)


def _view(source: Mapping[str, Any], key: ViewKey | None = None) -> View:
    key = key or _claimed_key(source, source.get("projection"), source.get("version"))
    return restored(key, *_stored(source, key))


def _claimed_key(source: Mapping[str, Any], projection: Any, version: Any) -> ViewKey:
    """Return the key of a document that a search found, as far as it can be read."""
    return ViewKey(projection, str(source.get("key", "")), version, str(source.get("row", "")))


def _stored(source: Mapping[str, Any], key: ViewKey) -> tuple[Any, Any, Any, Any]:
    """Return vector, state, value and digest; the vector is None if the document belongs to another view than `key`."""
    names = (source.get("projection"), source.get("key"), source.get("version"), source.get("row"))
    vector = source.get("vector") if names == key else None
    return vector, source.get("state_text"), source.get("value_text"), _bytes(source.get("digest"))


def _bytes(digest: Any) -> bytes | None:
    try:
        return b64decode(digest)
    except (TypeError, ValueError):
        return None


def _said(error: failures.OpenSearchException) -> str:
    """Return an error in one line: its kind and reason."""
    if not isinstance(error, failures.TransportError):
        return type(error).__name__
    info = error.info
    reason = info.get("error", {}) if isinstance(info, dict) else ""
    text = reason.get("reason", "") if isinstance(reason, dict) else reason
    return f"{error.status_code} {error.error}" + (f": {_USER.sub('the user', str(text))}" if text else "")
