"""The contract of every wrapping, by file and by KMS: bound to its subject, and wrong settings are told from damage."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chaos.world.world import World, WorldOptions
from replicator.aws import clients
from replicator.aws.kms import KmsWrapping
from replicator.domain.errors import DamagedEvent, InvalidConfig, RegionUnavailable
from replicator.erasure import LocalWrapping, Wrapping
from replicator.runtime.settings import Settings

EAST, WEST = "us-east-1", "eu-west-1"
HOMER, BART = "user/homer", "user/zoë \U0001f984"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(
        [EAST], options=WorldOptions(workers=False, tables=False, services="dynamodb,dynamodbstreams,kms")
    ) as started:
        yield started


@pytest.fixture(scope="module")
def by_kms(world: World) -> Settings:
    """Settings of us-east-1 with a multi-region KMS key that eu-west-1 (in the same emulator) has a replica of."""
    at = world.settings(EAST).endpoint(EAST)
    client = boto3.session.Session().client("kms", region_name=EAST, endpoint_url=at)
    key = client.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    client.replicate_key(KeyId=key, ReplicaRegion=WEST)
    for region in (EAST, WEST):
        there = boto3.session.Session().client("kms", region_name=region, endpoint_url=at)
        there.create_alias(AliasName="alias/personal", TargetKeyId=key)
    return Settings(EAST, endpoints={EAST: str(at), WEST: str(at)}, personal_key="alias/personal")


@pytest.fixture(params=["local", pytest.param("kms", marks=pytest.mark.emulator)])
def wrapping(request: pytest.FixtureRequest, tmp_path: Path) -> Wrapping:
    return LocalWrapping(tmp_path / "key") if request.param == "local" else KmsWrapping(request.getfixturevalue("by_kms"))


def test_a_key_comes_back_and_is_a_new_one_each_time(wrapping: Wrapping) -> None:
    for subject in (HOMER, BART):
        key, wrapped = wrapping.generate(subject)
        assert len(key) == 32
        assert key not in wrapped
        assert wrapping.unwrap(subject, wrapped) == key
        assert wrapping.generate(subject)[0] != key


def test_a_key_that_was_moved_to_another_subject_does_not_unwrap(wrapping: Wrapping) -> None:
    key, wrapped = wrapping.generate(HOMER)
    with pytest.raises(DamagedEvent, match="is damaged or belongs to another") as caught:
        wrapping.unwrap(BART, wrapped)
    assert key.hex() not in str(caught.value)


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 20, 30])
def test_a_wrapped_key_that_was_cut_is_damage(wrapping: Wrapping, cut: int) -> None:
    with pytest.raises(DamagedEvent, match="a stored key of user/homer is damaged"):
        wrapping.unwrap(HOMER, wrapping.generate(HOMER)[1][:cut])


def test_no_wrapping_shows_its_key(tmp_path: Path) -> None:
    wrapping = LocalWrapping(tmp_path / "key")
    secret = (tmp_path / "key").read_bytes()
    assert repr(wrapping) == f"LocalWrapping('{tmp_path / 'key'}')"
    assert str(secret) not in repr(vars(wrapping))


# -- a local file ----------------------------------------------------------------------------------------------------


def test_the_file_is_made_for_its_owner_alone_and_used_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key, wrapped = LocalWrapping(path).generate(HOMER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert LocalWrapping(str(path)).unwrap(HOMER, wrapped) == key
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_that_make_the_file_at_once_all_use_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: LocalWrapping(tmp_path / "key"), range(8)))
    key, wrapped = made[0].generate(HOMER)
    assert {each.unwrap(HOMER, wrapped) for each in made} == {key}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    LocalWrapping(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(InvalidConfig, match=rf"mode {mode:04o}\); run: chmod 600"):
        LocalWrapping(tmp_path / "key")


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_file_of_another_length_is_refused_and_left_as_it_is(tmp_path: Path, size: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(os.urandom(size))
    path.chmod(0o600)
    with pytest.raises(InvalidConfig, match="does not hold 32 bytes"):
        LocalWrapping(path)
    assert path.stat().st_size == size


@pytest.mark.parametrize("name", ["no/such/place/key", "."])
def test_a_file_that_cannot_be_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidConfig, match=r"cannot be used: .*Correct MERIDIAN_PERSONAL_KEY"):
        LocalWrapping(tmp_path / name)


def test_another_file_is_told_from_damage(tmp_path: Path) -> None:
    _, wrapped = LocalWrapping(tmp_path / "key").generate(HOMER)
    with pytest.raises(InvalidConfig, match=r"was not wrapped by key file .*other; restore the earlier MERIDIAN_"):
        LocalWrapping(tmp_path / "other").unwrap(HOMER, wrapped)


# -- KMS -------------------------------------------------------------------------------------------------------------


@pytest.mark.emulator
def test_what_one_region_wrapped_another_unwraps_with_its_replica(by_kms: Settings) -> None:
    key, wrapped = KmsWrapping(by_kms).generate(HOMER)
    assert KmsWrapping(replace(by_kms, region=WEST)).unwrap(HOMER, wrapped) == key


@pytest.mark.emulator
def test_a_kms_key_that_is_not_there_or_disabled_is_a_wrong_setting(by_kms: Settings) -> None:
    with pytest.raises(InvalidConfig, match="KMS of us-east-1 refuses GenerateDataKey with key 'alias/absent': NotFound"):
        KmsWrapping(replace(by_kms, personal_key="alias/absent")).generate(HOMER)
    client = clients.kms(by_kms, EAST)
    key = client.create_key()["KeyMetadata"]["KeyId"]
    _, wrapped = KmsWrapping(replace(by_kms, personal_key=key)).generate(HOMER)
    client.disable_key(KeyId=key)
    with pytest.raises(InvalidConfig, match=r"refuses Decrypt .*: DisabledException.*MERIDIAN_PERSONAL_KEY"):
        KmsWrapping(replace(by_kms, personal_key=key)).unwrap(HOMER, wrapped)


class Refusing:
    """A KMS client that answers every call with one error."""

    def __init__(self, code: str, status: int) -> None:
        self._error = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}

    def decrypt(self, **_: Any) -> Any:
        raise ClientError(self._error, "Decrypt")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "status", "error", "said"),
    [
        ("AccessDeniedException", 400, InvalidConfig, "refuses Decrypt .*AccessDeniedException.*allow this role to use it"),
        ("KMSInvalidStateException", 400, InvalidConfig, "KMSInvalidStateException"),
        ("IncorrectKeyException", 400, InvalidConfig, "IncorrectKeyException"),
        ("ThrottlingException", 400, RegionUnavailable, "us-east-1 does not answer"),
        ("DependencyTimeoutException", 503, RegionUnavailable, "us-east-1 does not answer"),
        ("KMSInternalException", 500, RegionUnavailable, "us-east-1 does not answer"),
    ],
)
def test_a_refusal_is_never_taken_for_forgotten(code: str, status: int, error: type[Exception], said: str) -> None:
    """The emulator has no policies to be denied by, so the client's answer is given here."""
    wrapping = KmsWrapping(Settings(EAST, personal_key="alias/personal", attempts=1))
    wrapping._client = Refusing(code, status)  # type: ignore[assignment]
    with pytest.raises(error, match=said):
        wrapping.unwrap(HOMER, b"wrapped")
