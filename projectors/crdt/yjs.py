"""Documents of the Yjs family through `pycrdt`: Nicolaescu, Jahns, Derntl, Klamma, "Near Real-Time Peer-to-Peer Shared
Editing on Extensible Data Types", GROUP 2016 (YATA).

An event carries a Yjs update as base64 text. Updates merged in different orders may give different bytes for one document.
So each lane's updates are merged in lane order and kept apart, and the document is made of the lanes merged in region order:
state and value are functions of the events alone. A lane may rest on another that is late; what rests on it is shown once it
is there, which is Yjs's own rule. `yrs` keeps it for one merged update, but a document that is given updates one after the
other, out of causal order, can lose some for good: so a document is always made anew, of one update.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

from projectors.crdt.base import InvalidOperation, Made, State, Tag, are_entries
from projectors.crdt.update import Refused, canonical, check_update
from replicator.domain.canonical import MAX_DEPTH, MAX_SAFE_INTEGER, same_json
from replicator.domain.errors import InvalidConfig, InvalidEvent, shown
from replicator.domain.vector import VersionVector
from replicator.runtime.distribution import needed

_SHOWN = 60


class Draft:
    """Document to edit: `content` is a `pycrdt.Array` or `pycrdt.Text`. For one thread. Make another for a later view,
    rather than applying updates to this one."""

    def __init__(self, document: Any, content: Any) -> None:
        self.document, self.content = document, content
        changes: list[bytes] = []  # not through self: a document in a cycle may be freed by another thread
        self._changes = changes
        self._watch = document.observe(lambda event: changes.append(bytes(event.update)))

    def update(self) -> str:
        """Return the changes since the last call, or since the draft was made: the text to put into an event. Raises
        InvalidOperation when nothing was changed, or when the document holds what JSON cannot, or shared types."""
        if not self._changes:
            raise InvalidOperation("nothing was changed; there is no update to append")
        _plain(_read(self.content), strict=True)
        update: bytes = _yjs().merge_updates(*self._changes)
        try:
            check_update(update)
        except Refused as error:
            raise InvalidOperation(f"the document cannot be kept in a view: {error}") from None
        self._changes.clear()
        return b64encode(update).decode()


@dataclass(frozen=True, slots=True)
class YjsDocument:
    """Base of lists and texts. State: `{region: [last sequence merged, base64 of the lane's updates]}`.

    The state grows with all that was ever written, also what was deleted since, as in any Yjs document: about 4/3 of its
    updates' bytes. Raises InvalidConfig when `pycrdt` is not installed.
    """

    root: ClassVar[str]
    """Name of the document's root type, for editors that speak Yjs themselves."""
    kind: ClassVar[str]

    def __post_init__(self) -> None:
        _yjs()

    def initial(self) -> State:
        return {}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        update = _decoded(operation)
        try:
            check_update(update)
        except Refused as error:
            raise InvalidOperation(f"{_brief(operation)} is not a Yjs update for a view: {error}") from None
        last, held = state.get(tag.region, (0, ""))
        if tag.sequence <= last:
            return state

        def merged() -> bytes:
            lane = [b64decode(held), update] if held else [update]
            whole = canonical(_yjs().merge_updates(*lane))  # it gives other bytes each time
            self._open(whole)
            return whole

        lane = _guarded(merged, lambda error: InvalidOperation(f"{_brief(operation)} is not a Yjs update: {error}"))
        return {**state, tag.region: [tag.sequence, b64encode(lane).decode()]}

    def is_state(self, state: Any) -> bool:
        return are_entries(state, int, str)

    def compact(self, state: State, seen: VersionVector) -> State:
        return state

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        later = {region: entry for region, entry in right.items() if region not in left or entry[0] > left[region][0]}
        return {**left, **later}

    def value(self, state: State) -> Any:
        """Return the document's value. What JSON cannot hold (bytes, subdocuments, numbers without a value) becomes null.
        Raises InvalidEvent when the lanes' updates cannot be merged, which those of editors always can."""
        shown = _guarded(lambda: _read(self._document(state)[1]), lambda error: InvalidEvent(f"not a Yjs document: {error}"))
        return _plain(shown)

    def discarded(self, left: Made, right: Made) -> Made | None:
        return None

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the documents side by side: owner -> value."""
        return {owner: self.value(state) for owner, state in states.items()}

    def draft(self, state: State | None = None) -> Draft:
        """Return the document of a view's field, to be edited: `draft(view.state["body"])`, or a new one."""
        return Draft(*self._document(state or {}))

    def _document(self, state: State) -> tuple[Any, Any]:
        lanes = [b64decode(state[region][1]) for region in sorted(state)]
        return self._open(_yjs().merge_updates(*lanes) if lanes else None)

    def _open(self, whole: bytes | None) -> tuple[Any, Any]:
        """Return a document of one update: one after the other they could lose what comes before what it rests on."""
        yjs = _yjs()
        document = yjs.Doc()
        if whole is not None:
            document.apply_update(whole)
        return document, document.get(self.root, type=getattr(yjs, self.kind))


@dataclass(frozen=True, slots=True)
class Sequence(YjsDocument):
    """Ordered list of JSON values; value: the list. Its root is the array `sequence`."""

    root: ClassVar[str] = "sequence"
    kind: ClassVar[str] = "Array"

    rule: str = (
        "Every insert stays between what its writer saw around it, concurrent ones at one place stand in the same order "
        "everywhere, and a deletion takes away only what its writer saw."
    )
    source: str = (
        "Nicolaescu, Jahns, Derntl, Klamma: Near Real-Time Peer-to-Peer Shared Editing on Extensible Data Types, GROUP 2016"
    )


@dataclass(frozen=True, slots=True)
class RichText(YjsDocument):
    """Text with formatting. Its root is the text `text`. Value: runs as in a Quill delta, `[{"insert": text}, {"insert":
    text, "attributes": {"bold": true}}]`; an embedded object stands in the place of the text."""

    root: ClassVar[str] = "text"
    kind: ClassVar[str] = "Text"

    rule: str = (
        "Every insert stays between what its writer saw around it, a deletion takes away only what its writer saw, and of "
        "concurrent formats of one kind on one passage all regions keep the same one."
    )
    source: str = (
        "Nicolaescu, Jahns, Derntl, Klamma: Near Real-Time Peer-to-Peer Shared Editing on Extensible Data Types, GROUP 2016"
    )


def _yjs() -> Any:
    with needed("lists and rich text need pycrdt", "text"):
        return import_module("pycrdt")


def _read(content: Any) -> Any:
    if not hasattr(content, "diff"):
        return content.to_py()
    runs: list[dict[str, Any]] = []
    for insert, attributes in content.diff():
        kept = {name: value for name, value in (attributes or {}).items() if value is not None}
        run = {"insert": insert, "attributes": kept} if kept else {"insert": insert}
        text = isinstance(insert, str) and runs and isinstance(runs[-1]["insert"], str)
        if text and same_json(runs[-1].get("attributes"), run.get("attributes")):
            runs[-1]["insert"] += insert
        else:
            runs.append(run)
    return runs


def _plain(value: Any, strict: bool = False, depth: int = 3) -> Any:
    """Return it as JSON. Yjs's numbers are JavaScript's: whole ones become integers as far as readers agree on those."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        if abs(value) <= MAX_SAFE_INTEGER:
            return int(value) if value == int(value) else value
        if isinstance(value, float) and math.isfinite(value) and not strict:
            return value
    elif depth < MAX_DEPTH and isinstance(value, Mapping):
        return {str(key): _plain(inner, strict, depth + 1) for key, inner in value.items()}
    elif depth < MAX_DEPTH and isinstance(value, list | tuple):
        return [_plain(inner, strict, depth + 1) for inner in value]
    if strict:
        raise InvalidOperation(f"a document of a view holds JSON, not {_brief(value)}")
    return None


def _decoded(operation: Any) -> bytes:
    if type(operation) is not str:
        raise InvalidOperation(f"a document takes a Yjs update as base64 text, not {_brief(operation)}")
    try:
        return b64decode(operation, validate=True)
    except (Error, ValueError) as error:
        raise InvalidOperation(f"a document takes a Yjs update as base64 text, not {_brief(operation)}: {error}") from None


def _guarded(work: Callable[[], Any], wrong: Callable[[str], Exception]) -> Any:
    try:
        return work()
    except (KeyboardInterrupt, SystemExit, GeneratorExit, InvalidConfig):
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        raise wrong(f"{type(error).__name__}: {error}") from None


def _brief(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
