"""The contract of every key storage: a forgotten subject has no key and never gets one, whatever comes at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from replicator.aws.key_table import DynamoKeys
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.erasure import KeyStorage, MemoryKeys, SubjectKeys
from replicator.runtime.settings import Settings

HOMER, BART = "user/homer", "user/bart"


@pytest.fixture(params=["memory", pytest.param("dynamodb", marks=pytest.mark.emulator)])
def keys(request: pytest.FixtureRequest) -> KeyStorage:
    return MemoryKeys() if request.param == "memory" else DynamoKeys(request.getfixturevalue("settings"))


def test_what_was_added_is_got_to_the_byte_and_nothing_else(keys: KeyStorage) -> None:
    awkward = "user/O'Hare \"é\U0001f6eb"
    assert keys.add(HOMER, "us-east-1.a", bytes(range(256)))
    assert keys.add(HOMER, "eu-west-1.b", b"other")
    assert keys.add(awkward, "us-east-1.c-_", b"x")
    assert keys.get(HOMER) == SubjectKeys({"us-east-1.a": bytes(range(256)), "eu-west-1.b": b"other"})
    assert keys.get(awkward) == SubjectKeys({"us-east-1.c-_": b"x"})
    assert keys.get(BART) == SubjectKeys()


def test_a_key_that_is_there_is_never_replaced(keys: KeyStorage) -> None:
    assert keys.add(HOMER, "us-east-1.a", b"first")
    assert keys.add(HOMER, "us-east-1.a", b"second")
    assert keys.get(HOMER).keys == {"us-east-1.a": b"first"}


def test_a_forgotten_subject_has_no_key_and_never_gets_one(keys: KeyStorage) -> None:
    keys.add(HOMER, "us-east-1.a", b"x")
    keys.add(BART, "us-east-1.b", b"y")
    for _ in range(2):
        keys.forget(HOMER)
        assert keys.get(HOMER) == SubjectKeys(forgotten=True)
        assert not keys.add(HOMER, "us-east-1.a", b"x")
        assert not keys.add(HOMER, "eu-west-1.new", b"z")
    assert keys.get(HOMER) == SubjectKeys(forgotten=True)
    assert keys.get(BART).keys == {"us-east-1.b": b"y"}


def test_one_who_never_had_a_key_can_be_forgotten(keys: KeyStorage) -> None:
    keys.forget(HOMER)
    assert keys.get(HOMER).forgotten
    assert not keys.add(HOMER, "us-east-1.a", b"x")


@pytest.mark.parametrize("turn", range(3))
def test_of_forgetting_and_adding_at_once_forgetting_wins(keys: KeyStorage, turn: int) -> None:
    barrier = Barrier(5)

    def add(n: int) -> bool:
        barrier.wait()
        return keys.add(HOMER, f"us-east-1.{n}", b"x")

    def forget() -> None:
        barrier.wait()
        keys.forget(HOMER)

    with ThreadPoolExecutor(5) as pool:
        adding = [pool.submit(add, n) for n in range(4)]
        pool.submit(forget).result()
        [each.result() for each in adding]
    assert keys.get(HOMER) == SubjectKeys(forgotten=True)


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(SubjectKeys({"us-east-1.a": b"secret"}))


@pytest.mark.emulator
def test_a_missing_table_is_named_with_its_remedy(settings: Settings) -> None:
    with pytest.raises(InvalidConfig, match=r"absent-keys does not exist in us-east-1; run `replicator init`"):
        DynamoKeys(replace(settings, prefix="absent")).get(HOMER)


def test_a_region_that_does_not_answer_is_unavailable_and_not_empty() -> None:
    nowhere = Settings("us-east-1", endpoints={"us-east-1": "http://127.0.0.1:1"}, attempts=1, connect_timeout=0.2)
    for verb in (
        lambda keys: keys.get(HOMER),
        lambda keys: keys.add(HOMER, "us-east-1.a", b"x"),
        lambda keys: keys.forget(HOMER),
    ):
        with pytest.raises(RegionUnavailable, match="us-east-1"):
            verb(DynamoKeys(nowhere))
