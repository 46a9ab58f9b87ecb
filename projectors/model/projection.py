"""Projections: declared field by field on a class, each field a CRDT fed by some event types.

    class Account(Projection):
        name = "account"
        stream_type = "user"
        email = register(registered=lambda p: p["email"], moved=lambda p: p["email"])
        logins = counter(logged_in=lambda p: 1)
        groups = collection(joined=lambda p: add(p["group"]), left=lambda p: remove(p["group"]))

A cross-stream projection says in which rows an event counts. Each stream owns one cell in each row that it feeds, so rows
that thousands of streams feed need no lock and no order:

    class Members(Projection):
        name = "members"
        stream_type = "user"
        rows = {"joined": lambda p: p["group"], "left": lambda p: p["group"]}
        users = flag(joined=lambda p: True, left=lambda p: False)
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from hashlib import sha256
from typing import Any, ClassVar, NoReturn

from projectors.crdt import Tag
from projectors.crdt.base import Run, applying_runs, may_be_state
from projectors.model.fields import Field, Handler
from projectors.model.payload import Payload, is_flat, own
from projectors.model.view import View, ViewKey
from replicator.domain.canonical import encode_json, loads
from replicator.domain.errors import DamagedEvent, InvalidConfig, InvalidEvent, MeridianError, place
from replicator.domain.event import Event
from replicator.domain.names import StreamId, check_segment
from replicator.domain.vector import VersionVector
from replicator.erasure import FORGOTTEN, FieldForgotten, Revealed, forgotten_subject, holds_personal, may_hold_personal
from replicator.erasure.payload import reveal_fields
from replicator.eventstore.upcasting import PLAIN, Schemas
from replicator.runtime.plugins import check_names

Reveal = Callable[[Payload, Collection[str], Payload], Revealed]
"""Function that decrypts a payload's personal fields, except those of the subjects named: `PersonalData.reveal`."""

WAITS, DECLARED = "waits", "declared"
_MAX_ROW_BYTES = 512
_MAX_VERSION = 2**31 - 1
_FORGOTTEN = "$forgotten"  # beside the fields' states: no field's name has a '$'
_MOST_JUDGED = 100_000
_MARK_CHARACTERS = 12
_judged: dict[tuple[type, bytes], str] = {}
"""Reasons why stored views are misfits, by class and digest: computing a document's value takes milliseconds."""
REMEDY = (
    "Correct the projection and deploy it; the view continues with the next event of its stream, or with "
    "`projectors rebuild`. If its declaration changed, raise its version"
)


class ProjectionFailed(MeridianError):
    """A projection cannot process an event: its code or the event is wrong. The view stays before that event.

    Its text may hold a part of the payload; `public` says where it happened without that, for logs and dead letters.
    """

    def __init__(self, where: str, error: BaseException) -> None:
        try:
            text = str(error)
        except Exception:  # a handler's own exception may be as wrong as its handler
            text = "(it cannot be shown)"
        super().__init__(f"{where}: {type(error).__name__}: {text}")
        self.public = f"{where}: {place(error)}"


def failed(projection: type[Projection], error: Exception) -> str:
    """Return why a view stands still and what to do about it: the error of its projection's code, without what the error
    quotes of a payload."""
    why = error.public if isinstance(error, ProjectionFailed) else f"projection {projection.name}: {place(error)}"
    return f"{why}. {REMEDY}"


def forgotten_in(states: Mapping[str, Any]) -> frozenset[str]:
    """Return the subjects whose personal fields are not in these states."""
    return frozenset(states.get(_FORGOTTEN, ()))


def without(states: dict[str, Any], subjects: Iterable[str]) -> dict[str, Any]:
    """Return the states with these subjects excluded: nothing personal of them is folded from now on. Earlier folds stay."""
    known = forgotten_in(states)
    new = known.union(subjects)
    return states if new == known else {**states, _FORGOTTEN: sorted(new)}


class Projection:
    """Pure function from the events of one stream to a view. Subclass it and declare fields; it holds no state.

    `name` names the view, `stream_type` says which streams feed it (one view per stream; a tuple for several types),
    `version` is raised whenever the declaration changes: views of different versions stand side by side. `schemas` are the
    event types and their upcasters: handlers get the latest version's payload.

    `rows` makes it a cross-stream projection: for each event type, the row, or rows, in which it counts. A row's value is
    made of its cells, one for each stream that feeds it. Such a projection never sees personal fields, as if they had been
    forgotten from the start.
    """

    name: ClassVar[str]
    stream_type: ClassVar[str | tuple[str, ...]]
    stream_types: ClassVar[tuple[str, ...]] = ()
    rows: ClassVar[Mapping[str, Handler]] = {}
    version: ClassVar[int] = 1
    schemas: ClassVar[Schemas] = PLAIN
    fields: ClassVar[Mapping[str, Field]] = {}
    _run_of: ClassVar[Mapping[str, Callable[[Any, Run], Any]]] = {}
    """Function of each field that applies many operations at once."""
    _fed: ClassVar[Mapping[str, Sequence[tuple[str, Handler, bool]]]] = {}
    """Fields that each event type feeds, and whether more fields follow: those must get the payload unchanged."""
    _declared: ClassVar[str] = ""
    """Identity of this declaration of fields, types and event types, for use in a hash."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        held = {name: value for each in reversed(cls.__mro__) for name, value in vars(each).items()}
        cls.fields = {name: value for name, value in sorted(held.items()) if isinstance(value, Field)}
        check_names(cls, Projection, Field, cls.fields)
        cls._run_of = {name: applying_runs(field.crdt) for name, field in cls.fields.items()}
        kinds = {kind for field in cls.fields.values() for kind in field.handlers}
        cls._fed = {kind: list(_fed_by(kind, cls.fields)) for kind in kinds}
        if not isinstance(getattr(cls, "name", None), str):
            raise InvalidConfig(f"projection {cls.__qualname__} has no `name`; set it to a string")
        check_segment(f"name of projection {cls.__qualname__}", cls.name, 128)
        if "@" in cls.name:
            raise InvalidConfig(
                f"projection {cls.__qualname__} has the name {cls.name!r}; '@' stands between a name and its version, so "
                "leave it out"
            )
        types = getattr(cls, "stream_type", None)
        if not types or not isinstance(types, str | tuple) or not all(isinstance(each, str) for each in types):
            raise InvalidConfig(
                f"projection {cls.__qualname__} has no `stream_type`; set it to a string, or to a tuple of them"
            )
        cls.stream_types = (types,) if isinstance(types, str) else types
        for each in cls.stream_types:
            check_segment(f"stream_type of projection {cls.__qualname__}", each, 128)
        if type(cls.version) is not int or not 1 <= cls.version <= _MAX_VERSION:
            raise InvalidConfig(
                f"projection {cls.__qualname__} has version {cls.version!r}; versions are 1, 2, 3, … 2^31 - 1"
            )
        if not isinstance(cls.schemas, Schemas):
            raise InvalidConfig(f"projection {cls.__qualname__} has the schemas {cls.schemas!r}; set `schemas` to Schemas()")
        cls.schemas.check()
        if not isinstance(cls.rows, Mapping) or not all(callable(route) for route in cls.rows.values()):
            raise InvalidConfig(
                f"projection {cls.__qualname__} has the rows {cls.rows!r}; set `rows` to a function of the payload for each "
                "event type"
            )
        if not cls.fields:
            raise InvalidConfig(
                f"projection {cls.__qualname__} declares no field; use register, counter or another of docs/crdts.md"
            )
        lost = {kind for field in cls.fields.values() for kind in field.handlers if cls.rows and kind not in cls.rows}
        cls._declared = _mark(cls)
        if lost:
            raise InvalidConfig(
                f"projection {cls.__qualname__} has no row for event types {', '.join(sorted(lost))}; name each in `rows`"
            )

    @classmethod
    def reads(cls, stream: StreamId) -> bool:
        """Return whether this stream feeds the projection."""
        return stream.type in cls.stream_types

    @classmethod
    def rows_of(cls, event: Event) -> tuple[str, ...]:
        """Return the rows of a cross-stream projection in which an event counts. Raises ProjectionFailed."""
        route = cls.rows.get(event.type)
        if route is None:
            return ()
        payload = cls._payload(event, {}, None)
        try:
            named = route(payload)
            names = () if named is None else (named,) if isinstance(named, str) else tuple(named)
            return tuple(dict.fromkeys(check_segment("row", name, _MAX_ROW_BYTES) for name in names))
        except FieldForgotten:
            return ()
        except Exception as error:  # as in `apply`
            raise ProjectionFailed(
                f"projection {cls.name} cannot determine the row of event {event.id} of type {event.type!r}", error
            ) from error

    @classmethod
    def initial(cls) -> dict[str, Any]:
        """Return the states of all fields before any event. Raises ProjectionFailed."""
        try:
            return {name: field.crdt.initial() for name, field in cls.fields.items()}
        except Exception as error:  # a type's own code may raise anything
            raise ProjectionFailed(f"projection {cls.name} cannot create its initial states", error) from error

    @classmethod
    def apply(cls, states: dict[str, Any], event: Event, reveal: Reveal | None = None) -> dict[str, Any]:
        """Return the states after one more event of its lane.

        When the event reveals that a subject is forgotten, `forgotten_in` of the states grows: earlier folds may hold the
        subject's fields, so fold again from `without(initial(), …)`. Raises ProjectionFailed naming the field and the event,
        DamagedEvent for a damaged personal field, and what `reveal` raises.
        """
        subject = forgotten_subject(event)
        if subject is not None and not cls.rows:
            states = without(states, [subject])
        fed = cls._fed.get(event.type)
        if not fed:
            return states
        payload, tag = cls._payload(event, states, reveal), Tag.of(event)
        if isinstance(payload, Revealed) and not cls.rows:
            states = without(states, payload.subjects)
        changed = dict(states)
        for name, handler, shared in fed:
            try:
                operation = handler(own(payload) if shared else payload)
                if operation is not None:
                    changed[name] = cls.fields[name].crdt.apply(states[name], operation, tag)
            except FieldForgotten:
                continue
            except Exception as error:  # whatever a handler raises concerns this event and this view alone
                raise ProjectionFailed(
                    f"projection {cls.name}, field {name}, cannot process event {event.id} of type {event.type!r}", error
                ) from error
        return changed

    @classmethod
    def apply_run(cls, states: dict[str, Any], events: Sequence[Event]) -> dict[str, Any] | None:
        """Return the states after these consecutive events of one lane: the same as `apply` on one after the other.

        Returns None when something about them is unusual (personal fields, a forgotten subject, an event that cannot be
        digested); apply them one by one then.
        """
        if cls.rows:
            return None
        runs: dict[str, list[tuple[Any, Event]]] = {name: [] for name in cls.fields}
        types = {event.type for event in events}
        if FORGOTTEN in types:
            return None
        fed = {
            kind: [(handler, shared, runs[name].append) for name, handler, shared in cls._fed[kind]]
            for kind in types & cls._fed.keys()
        }
        plain, payload_of = cls.schemas is PLAIN, cls.schemas.payload
        try:
            for event in events:
                if event.type not in fed:
                    continue
                text = event.payload_text
                if may_hold_personal(text):
                    return None
                payload = loads(text) if plain else payload_of(event)
                copied = dict.copy if plain and is_flat(text) else own
                for handler, shared, take in fed[event.type]:
                    operation = handler(copied(payload) if shared else payload)
                    if operation is not None:
                        take((operation, event))
            changed = dict(states)
            for name, run in runs.items():
                if run:
                    changed[name] = cls._run_of[name](states[name], run)
        except Exception:  # `apply` says which event, and why
            return None
        return changed

    @classmethod
    def _payload(cls, event: Event, states: dict[str, Any], reveal: Reveal | None) -> Payload:
        try:
            payload = cls.schemas.payload(event)
        except Exception as error:  # an event of newer code, or an upcaster that fails: as above
            where = f"projection {cls.name} cannot read event {event.id} of type {event.type!r}, version {event.version}"
            raise ProjectionFailed(where, error) from error
        if not may_hold_personal(event.payload_text) or not holds_personal(payload):
            return payload
        if reveal is None and not cls.rows:
            where = f"projection {cls.name} cannot read the personal data of event {event.id}"
            raise ProjectionFailed(where, InvalidConfig("set MERIDIAN_PERSONAL_KEY"))
        try:
            if reveal is None or cls.rows:
                return reveal_fields(payload, _withhold, event.payload)
            return reveal(payload, forgotten_in(states), event.payload)
        except DamagedEvent as error:
            raise DamagedEvent(f"event {event.id}: {error}") from None

    @classmethod
    def key(cls, stream: StreamId | str) -> ViewKey:
        """Return the key of a stream's view."""
        return ViewKey(cls.name, str(stream), cls.version)

    @classmethod
    def view(cls, key: str, states: dict[str, Any], seen: VersionVector, row: str = "") -> View:
        """Return the view at `seen`, or the cell in `row`: states compacted, values computed, bytes canonical. Raises
        InvalidEvent when JSON cannot hold it, and ProjectionFailed when a field's type raises anything else."""
        try:
            compact = {name: field.crdt.compact(states[name], seen) for name, field in cls.fields.items()}
            value = {name: field.crdt.value(compact[name]) for name, field in cls.fields.items()}
        except InvalidEvent:
            raise
        except Exception as error:  # a type's own code may raise anything
            raise ProjectionFailed(f"projection {cls.name} cannot compute its view of {key} at {seen}", error) from error
        compact = without(compact, forgotten_in(states))
        return View(cls.name, cls.version, key, seen, encode_json(compact, "state"), encode_json(value, "value"), row)

    @classmethod
    def misfit(cls, view: View) -> str:
        """Return why a stored view or cell counts as absent: its state does not fit this class, whose fields or their types
        were changed without raising `version`. Empty when it fits: the class makes exactly the same bytes of it."""
        if cls.rows and not view.row:
            return cls._misplaced(view)
        known = _judged.get((cls, digest := view.digest))
        if known is None:
            if len(_judged) >= _MOST_JUDGED:
                _judged.pop(next(iter(_judged)), None)
            known = _judged[cls, digest] = cls._misfit(view)
        return known

    @classmethod
    def _misplaced(cls, view: View) -> str:
        """Return the same as `misfit`, for the record of how far a stream is folded into cells."""
        try:
            state = view.state
        except InvalidEvent as error:
            return f"its stored state cannot be read: {place(error)}"
        if view.value_text == "{}" and state.get(DECLARED) == cls._declared and not state.keys() - {DECLARED, WAITS}:
            return ""
        return "it was folded into cells of other fields, types or event types than the class's"

    @classmethod
    def _misfit(cls, view: View) -> str:
        try:
            state = view.state
            held = {name for name in state if not name.startswith("$")}
            if held != set(cls.fields):
                return (
                    f"its stored state has the fields {', '.join(sorted(held)) or 'none'}, the class {', '.join(cls.fields)}"
                )
            known = all(may_be_state(field.crdt, state[name]) for name, field in cls.fields.items())
            if known and cls.view(view.key, state, view.vector, view.row) == view:
                return ""
        except Exception as error:  # another type's state may raise anything
            return f"its stored state is of other types than the class's fields: {place(error)}"
        return "its stored state is of other types than the class's fields"

    @classmethod
    def reached(cls, key: str, seen: VersionVector, waits: Mapping[str, VersionVector]) -> View:
        """Return the record that a cross-stream projection keeps of a stream beside its cells: how far it is folded, by
        which declaration, and, by row, what was observed beyond that."""
        state: dict[str, Any] = {DECLARED: cls._declared}
        if waits:
            state[WAITS] = {row: dict(beyond.items()) for row, beyond in waits.items()}
        return View(cls.name, cls.version, key, seen, encode_json(state, "state"), "{}")

    @classmethod
    def made_of(cls, event: Event, reveal: Reveal | None = None) -> dict[str, Any]:
        """Return the event's operation for each field that it feeds. Raises as `apply`."""
        fed = cls._fed.get(event.type, ())
        payload = cls._payload(event, {}, reveal) if fed else {}
        made: dict[str, Any] = {}
        for name, handler, shared in fed:
            try:
                operation = handler(own(payload) if shared else payload)
            except FieldForgotten:
                continue
            except Exception as error:  # as in `apply`
                raise ProjectionFailed(
                    f"projection {cls.name}, field {name}, cannot process event {event.id}", error
                ) from error
            if operation is not None:
                made[name] = operation
        return made


def _fed_by(kind: str, fields: Mapping[str, Field]) -> Iterator[tuple[str, Handler, bool]]:
    names = [name for name, field in fields.items() if kind in field.handlers]
    for name in names:
        yield name, fields[name].handlers[kind], name != names[-1]


def _mark(projection: type[Projection]) -> str:
    fed = {name: [_described(field.crdt), sorted(field.handlers)] for name, field in projection.fields.items()}
    text = encode_json({"fields": fed, "rows": sorted(projection.rows)})
    return urlsafe_b64encode(sha256(text.encode()).digest()).decode()[:_MARK_CHARACTERS]


def _described(crdt: Any) -> str:
    """Return the description of a type and its parts: `OrMap(of=OrSet(),depth=1)`."""
    if not is_dataclass(crdt) or isinstance(crdt, type):
        return repr(crdt) if isinstance(crdt, str | int) else type(crdt).__name__
    made = [each for each in dataclass_fields(crdt) if each.name not in ("rule", "source")]
    return f"{type(crdt).__name__}({','.join(f'{each.name}={_described(getattr(crdt, each.name))}' for each in made)})"


def _withhold(envelope: Any, path: Any) -> NoReturn:
    """Withhold a personal field from a cross-stream projection. Rows are made of many people's events, which cannot be
    separated later, when one person is forgotten."""
    raise FieldForgotten(path[-1])
