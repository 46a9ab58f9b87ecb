"""Lists and rich text: an editor's updates as events, the same bytes everywhere, and a bad one breaks nothing but itself."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from base64 import b64decode, b64encode
from itertools import permutations
from typing import Any

import pycrdt
import pytest

from projectors.crdt import InvalidOperation, RichText, Sequence, Tag, yjs
from projectors.crdt.update import canonical, check_update
from projectors.model.fields import rich_text
from replicator import InvalidConfig, VersionVector
from replicator.domain.canonical import encode_json, same_json
from replicator.domain.clock import Hlc
from replicator.domain.errors import InvalidEvent
from replicator.domain.vector import EMPTY

EAST, WEST = "us-east-1", "eu-west-1"
TEXT, LIST = RichText(), Sequence()


def tag(region: str = EAST, sequence: int = 1, observed: VersionVector = EMPTY) -> Tag:
    return Tag(region, sequence, Hlc(sequence, 0), observed)


def encoded(update: bytes) -> str:
    return b64encode(update).decode()


def written(crdt: Any, *contents: Any) -> Any:
    """The state after one event with a document that holds these."""
    draft = crdt.draft()
    draft.content.extend(contents) if crdt is LIST else draft.content.insert(0, contents[0])
    return crdt.apply(crdt.initial(), draft.update(), tag())


def test_two_regions_edit_one_text_and_see_the_same() -> None:
    first = TEXT.draft()
    first.content.insert(0, "Hello world")
    state = TEXT.apply(TEXT.initial(), first.update(), tag())
    east, west = TEXT.draft(state), TEXT.draft(state)
    with east.document.transaction():
        east.content.insert(5, ",")
        east.content.format(0, 5, {"bold": True})
    west.content.insert(11, "!")
    ours, theirs = (east.update(), tag(EAST, 2)), (west.update(), tag(WEST, 1, VersionVector({EAST: 1})))
    expected = [{"insert": "Hello", "attributes": {"bold": True}}, {"insert": ", world!"}]
    for order in ((ours, theirs), (theirs, ours)):
        merged = state
        for update, at in order:
            merged = TEXT.apply(merged, update, at)
        assert TEXT.value(merged) == expected
    early = TEXT.apply(TEXT.initial(), *theirs)
    assert TEXT.value(early) == []  # what it rests on is not here yet
    assert TEXT.value(TEXT.merge(early, EMPTY, state, EMPTY)) == [{"insert": "Hello world!"}]


def test_a_draft_gives_what_was_changed_since_and_only_that() -> None:
    draft = LIST.draft()
    with pytest.raises(InvalidOperation, match="nothing was changed"):
        draft.update()
    draft.content.extend(["a", "b"])
    draft.content.append("c")
    state = LIST.apply(LIST.initial(), draft.update(), tag())
    with pytest.raises(InvalidOperation, match="nothing was changed"):
        draft.update()
    del draft.content[1]
    state = LIST.apply(state, draft.update(), tag(sequence=2))
    assert LIST.value(state) == ["a", "c"]
    again = LIST.draft(state)
    again.content.insert(1, {"n": 1})
    assert LIST.value(LIST.apply(state, again.update(), tag(sequence=3))) == ["a", {"n": 1}, "c"]


def test_numbers_are_json_s() -> None:
    value = LIST.value(written(LIST, 1, 2.0, 2.5, -3, True, None, "x", [1], {"n": 2**53 - 1}))
    assert encode_json({"value": value}) == '{"value":[1,2,2.5,-3,true,null,"x",[1],{"n":9007199254740991}]}'


@pytest.mark.parametrize("strange", [2**60, b"ab", float("nan"), float("inf")], ids=repr)
def test_what_json_cannot_hold_is_refused_to_a_writer_and_not_shown_as_another(strange: Any) -> None:
    draft = LIST.draft()
    draft.content.extend([1, strange])
    with pytest.raises(InvalidOperation, match="holds JSON, not"):
        draft.update()
    update = encoded(draft.document.get_update())  # a writer of another make
    shown = float(strange) if isinstance(strange, int) else None
    assert LIST.value(LIST.apply(LIST.initial(), update, tag())) == [1, shown]


@pytest.mark.parametrize("number", [2.0**53, 1e300, -1e22, 5e-324], ids=repr)
def test_numbers_beyond_what_is_exact_are_shown_as_they_are(number: float) -> None:
    document: Any = pycrdt.Doc()
    document.get("sequence", type=pycrdt.Array).append(number)
    value = LIST.value(LIST.apply(LIST.initial(), encoded(document.get_update()), tag()))
    assert encode_json({"value": value}) == f'{{"value":[{number!r}]}}'


def test_runs_of_text_whose_attributes_are_equal_to_python_alone_stay_apart() -> None:
    document: Any = pycrdt.Doc()
    text = document.get("text", type=pycrdt.Text)
    text.insert(0, "a", {"level": True})
    text.insert(1, "b", {"level": 1})
    state = TEXT.apply(TEXT.initial(), encoded(document.get_update()), tag())
    assert encode_json({"value": TEXT.value(state)}) == (
        '{"value":[{"attributes":{"level":true},"insert":"a"},{"attributes":{"level":1},"insert":"b"}]}'
    )


def test_what_is_nested_too_deep_is_null() -> None:
    deep: Any = "bottom"
    for _ in range(40):
        deep = [deep]
    other: Any = pycrdt.Doc()
    other.get("sequence", type=pycrdt.Array).append(deep)
    value = LIST.value(LIST.apply(LIST.initial(), encoded(other.get_update()), tag()))
    assert "bottom" not in encode_json({"field": {"flight/1": value}})  # as deep as it stands in a row's total


def test_an_embedded_object_and_runs_of_one_format() -> None:
    draft = TEXT.draft()
    draft.content.insert(0, "ab")
    draft.content.format(0, 1, {"bold": True})
    draft.content.format(1, 2, {"bold": True})
    draft.content.insert_embed(1, {"image": 1})
    value = TEXT.value(TEXT.apply(TEXT.initial(), draft.update(), tag()))
    bold = {"bold": True}
    assert [run["insert"] for run in value] == ["a", {"image": 1}, "b"]
    assert value[0] == {"insert": "a", "attributes": bold}
    draft.content.format(0, 3, {"bold": None})
    assert [
        run.get("attributes") for run in TEXT.value(TEXT.apply(TEXT.initial(), encoded(draft.document.get_update()), tag()))
    ] == [
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("operation", "named"),
    [
        (None, "not None"),
        (b"AAA=", "not b'AAA='"),
        ("no base64!", "base64 text, not 'no base64!'"),
        ("AAA", "'AAA': Incorrect padding"),
        ("é", "'é'"),
        ("", "'' is not a Yjs update"),
        ("/////w==", "'/////w==' is not a Yjs update for a view: it is truncated"),
        ("AAAA", "'AAAA' is not a Yjs update for a view: 1 surplus bytes"),
        (encoded(b"\xff" * 500), "'/////////.*… is not a Yjs update"),
    ],
)
def test_what_is_no_update_is_refused_with_what_it_was(operation: Any, named: str) -> None:
    state = written(TEXT, "Hello")
    before = encode_json(state)
    with pytest.raises(InvalidOperation, match=named):
        TEXT.apply(state, operation, tag(sequence=2))
    assert encode_json(state) == before


def test_damaged_updates_are_refused_or_taken_and_never_end_the_process(capfd: pytest.CaptureFixture[str]) -> None:
    draft = TEXT.draft()
    draft.content.insert(0, "Hello")
    draft.content.format(0, 3, {"bold": True})
    del draft.content[1]
    sound, chance, refused = b64decode(draft.update()), random.Random(4), 0
    for _ in range(3000):
        damaged = bytearray(sound)
        for _ in range(chance.randrange(1, 4)):
            where = chance.randrange(len(damaged))
            if chance.random() < 0.5:
                damaged[where] = chance.randrange(256)
            else:
                damaged[where:where] = bytes(chance.choice([0xFF, 0x7F, 0x80]) for _ in range(chance.randrange(1, 9)))
        try:
            state = TEXT.apply(TEXT.initial(), encoded(bytes(damaged)), tag())
            encode_json({"state": state, "value": TEXT.value(state)})
        except (InvalidOperation, InvalidEvent):
            refused += 1
    assert refused > 2000  # versions of the library before 0.14.9 end the process on some of these


def number(n: int) -> bytes:
    """As lib0 writes it."""
    return bytes([n & 127 | 128]) + number(n >> 7) if n > 127 else bytes([n])


def with_content(content: bytes) -> str:
    """The update of one item in the list."""
    root = number(1) + number(len("sequence")) + b"sequence"
    return encoded(number(1) + number(1) + number(1) + number(0) + content[:1] + root + content[1:] + number(0))


DEPTH = 60_000
TOO_DEEP = {
    "arrays": with_content(bytes([8, 1]) + bytes([117, 1]) * DEPTH + bytes([126])),
    "objects": with_content(bytes([8, 1]) + bytes([118, 1, 1, 97]) * DEPTH + bytes([126])),
    "an embedded object": with_content(bytes([5]) + number(2 * DEPTH) + b"[" * DEPTH + b"]" * DEPTH),
    "a format": with_content(bytes([6, 1, 97]) + number(2 * DEPTH) + b"[" * DEPTH + b"]" * DEPTH),
    "a subdocument's options": with_content(bytes([9, 1, 97]) + bytes([117, 1]) * DEPTH + bytes([126])),
}
TRY = """
import sys
from projectors.crdt import InvalidOperation, Sequence, Tag
from replicator import Hlc, VersionVector
for line in sys.stdin:
    try:
        Sequence().apply({}, line.strip(), Tag("us-east-1", 1, Hlc(1, 0), VersionVector()))
    except InvalidOperation as error:
        print(error)
"""


def test_what_is_nested_so_deep_that_the_library_would_end_the_process_is_refused() -> None:
    """In a process of its own: there is no catching it."""
    given = "\n".join(TOO_DEEP.values())
    run = subprocess.run([sys.executable, "-c", TRY], input=given, text=True, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr[-500:]
    said = run.stdout.splitlines()
    assert [line.partition(": ")[2] for line in said] == ["a value is nested deeper than 128 levels"] * len(TOO_DEEP)


BRACKETS = "[" * 200


@pytest.mark.parametrize(
    "text",
    [f'"{BRACKETS}"', rf'"\\\"{BRACKETS}"', "[" * 120 + "]" * 120, "[" + "[1]," * 200 + "1]"],
    ids=["text", "escaped", "less deep", "side by side"],
)
def test_brackets_are_no_nesting_where_they_are_in_a_text_or_closed_again(text: str) -> None:
    update = with_content(bytes([5]) + number(len(text)) + text.encode())
    assert LIST.apply(LIST.initial(), update, tag()) != LIST.initial()


@pytest.mark.parametrize("kind", [pycrdt.Array, pycrdt.Map, pycrdt.Text], ids=lambda kind: kind.__name__)
def test_shared_types_within_the_document_are_refused_to_writers_and_readers(kind: Any) -> None:
    """One in the other, update by update, they could be nested without an end."""
    draft = LIST.draft()
    draft.content.append(kind())
    with pytest.raises(InvalidOperation, match="it holds a shared type; a document of a view holds plain values"):
        draft.update()
    update = encoded(draft.document.get_update())  # a writer of another make
    with pytest.raises(InvalidOperation, match="it holds a shared type"):
        LIST.apply(LIST.initial(), update, tag())


@pytest.mark.parametrize(
    "update",
    [
        number(2**31),
        number(1) + number(2**31),
        number(0) + number(2**31),
        number(0) + number(1) + number(1) + number(2**31),
        number(1) * 3 + number(0) + bytes([0]) + number(2**32) + number(0),
        number(1) * 3 + number(0) + bytes([10]) + number(2**63) + number(0),
        number(1) * 3 + number(0) + bytes([4, 1, 1, 97]) + number(2**31) + number(0),
        number(1) * 3 + number(0) + bytes([8, 1, 1, 97]) + number(2**31) + number(0),
        number(1) * 3 + number(0) + bytes([8, 1, 1, 97, 1, 117]) + number(2**31) + number(0),
        number(0) + number(1) + number(1) + number(1) + number(2**31 - 1) + number(1),
        b"\xff" * 20,
    ],
    ids=lambda update: str(update.hex()),
)
def test_numbers_that_no_update_has_are_refused_before_anything_is_made_of_them(update: bytes) -> None:
    with pytest.raises(InvalidOperation, match=r"cut short|too large"):
        LIST.apply(LIST.initial(), encoded(update), tag())


def test_a_panic_of_the_library_is_an_invalid_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def panic(*_: Any) -> Any:
        raise PanicException("index out of bounds")

    state = written(TEXT, "Hello")
    monkeypatch.setattr(pycrdt, "merge_updates", panic)
    with pytest.raises(InvalidOperation, match="PanicException: index out of bounds"):
        TEXT.apply(state, "AAA=", tag(sequence=2))
    monkeypatch.setattr(pycrdt.Doc, "apply_update", panic)
    with pytest.raises(InvalidEvent, match="PanicException"):
        TEXT.value(state)

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(pycrdt, "merge_updates", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TEXT.apply(state, "AAA=", tag(sequence=2))


@pytest.mark.parametrize(("wrote", "reads"), list(permutations([TEXT, LIST])), ids=["text as list", "list as text"])
def test_an_update_for_the_other_kind_of_document_is_none_of_this_one_s(wrote: Any, reads: Any) -> None:
    (update,) = [entry[1] for entry in written(wrote, "Hello").values()]
    assert reads.value(reads.apply(reads.initial(), update, tag())) == []


def test_a_root_of_another_type_shows_no_more_than_it_can() -> None:
    other: Any = pycrdt.Doc()
    other.get("text", type=pycrdt.Map)["a"] = "b"
    assert TEXT.value(TEXT.apply(TEXT.initial(), encoded(other.get_update()), tag())) == []
    other = pycrdt.Doc()
    other.get("text", type=pycrdt.Array).extend([1, {"a": 2}])
    encode_json({"value": TEXT.value(TEXT.apply(TEXT.initial(), encoded(other.get_update()), tag()))})


def test_two_editors_that_pretend_to_be_one_show_the_same_contradiction_everywhere() -> None:
    made = []
    for region, text in ((EAST, "east"), (WEST, "west wind")):
        editor: Any = pycrdt.Doc(client_id=7)
        editor.get("text", type=pycrdt.Text).insert(0, text)
        made.append((encoded(editor.get_update()), tag(region)))
    states = []
    for order in (made, made[::-1]):
        state = TEXT.initial()
        for update, at in order:
            state = TEXT.apply(state, update, at)
        states.append(encode_json({"state": state, "value": TEXT.value(state)}))
    assert states[0] == states[1]


FOLD = """
import json, sys
from projectors.crdt import RichText, Tag
from replicator.domain.canonical import encode_json, same_json
from replicator.domain.clock import Hlc
from replicator.domain.vector import EMPTY
state = RichText().initial()
for sequence, (region, update) in enumerate(json.load(sys.stdin), 1):
    state = RichText().apply(state, update, Tag(region, sequence, Hlc(sequence, 0), EMPTY))
print(encode_json({"state": state, "value": RichText().value(state)}))
"""


def test_the_bytes_are_the_same_in_every_process() -> None:
    chance, updates = random.Random(3), []
    documents: list[Any] = [pycrdt.Doc(client_id=chance.randrange(1, 2**32)) for _ in range(9)]
    for _ in range(60):
        document = chance.choice(documents)
        text = document.get("text", type=pycrdt.Text)
        watch = document.observe(lambda event: updates.append(encoded(event.update)))
        with document.transaction():
            text.insert(chance.randrange(len(text) + 1), chance.choice("abc") * 3)
            text.format(0, len(text) // 2 + 1, {"bold": True, "size": 7, "color": "red"})
            del text[0:2]
        document.unobserve(watch)
        for other in documents:
            if chance.random() < 0.4:
                other.apply_update(document.get_update())
    given = json.dumps([(chance.choice([EAST, WEST]), update) for update in updates])
    shown = {
        subprocess.run([sys.executable, "-c", FOLD], input=given, text=True, capture_output=True, check=True).stdout
        for _ in "ab"
    }
    assert len(shown) == 1
    assert "bold" in shown.pop()


def test_without_the_library_the_declaration_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycrdt", None)
    with pytest.raises(InvalidConfig, match=r"pip install 'meridian-events\[text\]'"):
        rich_text(edited=lambda p: p["update"])
    assert yjs.RichText.root == "text"


# -- one update, one text ----------------------------------------------------------------------------------------------

CARD = {
    "title": "a", "done": False, "tags": {"z": 1, "a": [{"y": 2.5, "x": None, "é": True}]}, "n": -3, "": 2**40,
    "k": "\U0001f6eb",
}  # fmt: skip


def edits() -> dict[str, tuple[Any, list[str]]]:
    """Updates of one lane, by the type that they are of, with objects wherever one can be."""
    cards, texts = LIST.draft(), TEXT.draft()
    made: dict[str, tuple[Any, list[str]]] = {"list": (LIST, []), "text": (TEXT, [])}
    for n in range(4):
        cards.content.append({**CARD, "n": n})
        cards.content.extend([[CARD, n], {"one": CARD}])
        if n:
            del cards.content[1]
        made["list"][1].append(cards.update())
        texts.content.insert(0, f"word {n} ", {"link": {"href": "x", "title": "y", "rel": {"b": 1, "a": n}}, "bold": True})
        texts.content.insert_embed(1, {"image": "x.png", "alt": "y", "size": {"w": 1, "h": n}})
        made["text"][1].append(texts.update())
    return made


@pytest.mark.parametrize("kind", ["list", "text"])
def test_a_document_with_objects_is_the_same_bytes_however_often_it_is_folded(kind: str) -> None:
    crdt, updates = edits()[kind]
    folds = set()
    for _ in range(30):
        state = crdt.initial()
        for sequence, update in enumerate(updates, 1):
            state = crdt.apply(state, update, tag(sequence=sequence))
        folds.add(encode_json({"state": state, "value": crdt.value(state)}))
    assert len(folds) == 1


@pytest.mark.parametrize("kind", ["list", "text"])
def test_putting_an_update_into_order_changes_nothing_that_is_read(kind: str) -> None:
    crdt, updates = edits()[kind]
    document: Any = pycrdt.Doc()
    for update in updates:
        document.apply_update(b64decode(update))
    whole = document.get_update()
    assert canonical(canonical(whole)) == canonical(whole)
    check_update(canonical(whole))
    read = [crdt.value({"us-east-1": [1, encoded(each)]}) for each in (whole, canonical(whole))]
    assert same_json(*read)
    other = {canonical(pycrdt.merge_updates(whole)) for _ in range(20)}
    assert other == {canonical(whole)}
