"""Version vectors: a join semilattice whose text is canonical."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.domain.errors import MeridianError
from replicator.domain.names import MAX_SEQUENCE
from replicator.domain.vector import EMPTY, VersionVector

REGIONS = ["ap-south-1", "eu-west-1", "us-east-1", "us-gov-west-1"]
entries = st.dictionaries(st.sampled_from(REGIONS), st.integers(0, 4) | st.integers(0, MAX_SEQUENCE))
vectors = entries.map(VersionVector)
positions = st.tuples(st.sampled_from(REGIONS), st.integers(1, 6))


@given(vectors, vectors, vectors)
def test_join_is_the_least_upper_bound(a: VersionVector, b: VersionVector, c: VersionVector) -> None:
    joined = a.join(b)
    assert a <= joined
    assert b <= joined
    assert joined <= c or not (a <= c and b <= c)  # nothing smaller covers both
    assert (a <= b) == (a.join(b) == b)


@given(vectors, vectors, vectors)
def test_join_is_commutative_associative_and_idempotent(a: VersionVector, b: VersionVector, c: VersionVector) -> None:
    assert str(a.join(b)) == str(b.join(a))
    assert str(a.join(b).join(c)) == str(a.join(b.join(c)))
    assert a.join(a) == a == a.join(EMPTY) == EMPTY.join(a)


@given(vectors, vectors)
def test_order_is_partial_and_equality_is_by_content(a: VersionVector, b: VersionVector) -> None:
    assert (a <= b and b <= a) == (a == b) == (str(a) == str(b))
    assert a != b or hash(a) == hash(b)
    assert a != dict(a.items())


@given(vectors, positions)
def test_advance_moves_one_lane_on_and_never_back(vector: VersionVector, to: tuple[str, int]) -> None:
    region, sequence = to
    advanced = vector.advance(region, sequence)
    assert advanced == vector.join(VersionVector({region: sequence}))
    assert advanced.covers(region, sequence)
    assert str(advanced) == str(VersionVector(dict(advanced.items())))


@given(vectors, vectors)
def test_beyond_is_exactly_what_the_other_lacks(a: VersionVector, b: VersionVector) -> None:
    rest = a.beyond(b)
    assert dict(rest.items()) == {r: s for r, s in a.items() if s > b.get(r)}
    assert b.join(rest) == b.join(a)
    assert bool(rest) == (not a <= b)


@given(entries)
def test_text_is_canonical_and_parses_back(given_entries: Mapping[str, int]) -> None:
    vector = VersionVector(given_entries)
    assert VersionVector.parse(str(vector)) == vector
    assert str(vector) == str(VersionVector(dict(reversed(given_entries.items()))))
    assert [region for region, _ in vector.items()] == sorted(r for r, s in given_entries.items() if s)


def test_a_region_at_zero_is_a_region_not_named() -> None:
    vector = VersionVector({"us-east-1": 7, "eu-west-1": 0})
    assert vector == VersionVector({"us-east-1": 7})
    assert str(vector) == '{"us-east-1":7}'
    assert vector.get("eu-west-1") == 0
    assert not vector.covers("eu-west-1", 1)
    assert not VersionVector({"eu-west-1": 0})


def test_a_vector_does_not_follow_the_dict_it_was_made_of() -> None:
    source = {"us-east-1": 1}
    vector = VersionVector(source)
    source["us-east-1"] = 9
    assert vector.get("us-east-1") == 1


@pytest.mark.parametrize(
    "sequence", [-1, 1.0, True, "1", None, float("nan"), MAX_SEQUENCE + 1, pytest.param(10**5000, id="huge")]
)
def test_impossible_sequences_are_refused(sequence: object) -> None:
    with pytest.raises(MeridianError, match="us-east-1"):
        VersionVector({"us-east-1": sequence})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "7", '"us-east-1"', '{"us-east-1":-1}', '{"us-east-1":1.5}', '{"us-east-1":true}',
        '{"us-east-1":"1"}', '{"us-east-1":null}', '{"us-east-1":NaN}', '{"US-EAST-1":1}', '{"":1}', '{"us-east-1#user":1}',
        '{"us-e\u0430st-1":1}', '{"us-east-1":' + "9" * 5000 + "}", "[" * 100_000, None, 7,
    ],
)  # fmt: skip
def test_bad_text_is_refused(text: object) -> None:
    with pytest.raises(MeridianError):
        VersionVector.parse(text)  # type: ignore[arg-type]
