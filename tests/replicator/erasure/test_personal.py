"""Personal data of several regions: keys are found wherever they are, and nothing is forgotten but by forgetting."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import structlog

from replicator.connect import connect_personal_data, given_personal_data
from replicator.domain.canonical import decode_json, encode_json
from replicator.domain.errors import DamagedEvent, InvalidConfig, InvalidName, MeridianError
from replicator.erasure import (
    MARKER,
    FieldForgotten,
    KeyUnavailable,
    LocalWrapping,
    MemoryKeys,
    PersonalData,
    SubjectForgotten,
    SubjectKeys,
)
from replicator.runtime.settings import Settings, read_settings
from tests.cuttable import Cuttable

EAST, SOUTH, WEST = "us-east-1", "ap-south-1", "eu-west-1"
HOMER = "user/homer"
SECRET = "4929 1234 horse"


class Regions:
    """Three regions' keys in memory, wrapped by one key file; `down` is what all others see of a region."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.now = 0.0
        self.keys = {region: Cuttable(MemoryKeys()) for region in (EAST, SOUTH, WEST)}

    def personal(self, region: str) -> PersonalData:
        """A process of a region."""
        return PersonalData(region, self.keys, LocalWrapping(self.file), lambda: self.now)


@pytest.fixture
def regions(tmp_path: Path) -> Regions:
    return Regions(tmp_path / "key")


def written(personal: PersonalData, value: Any = SECRET) -> dict[str, Any]:
    return decode_json(encode_json(personal.protect(HOMER, {"email": value}, ["email"])))


def test_one_subject_has_one_key_in_all_processes_of_a_region(regions: Regions) -> None:
    ids = {written(regions.personal(EAST))["email"][MARKER]["key"] for _ in range(5)}
    assert len(ids) == 1
    assert ids.pop().startswith(f"{EAST}.")
    assert list(regions.keys[WEST].keys.get(HOMER).keys) == []


def test_two_regions_that_make_a_key_at_once_read_each_other(regions: Regions) -> None:
    east, west = regions.personal(EAST), regions.personal(WEST)
    ours, theirs = written(east, "east"), written(west, "west")
    assert ours["email"][MARKER]["key"] != theirs["email"][MARKER]["key"]
    for reader in (east, west, regions.personal(SOUTH)):
        assert [reader.reveal(each)["email"] for each in (ours, theirs)] == ["east", "west"]


def test_a_key_is_fetched_once_and_then_kept_here(regions: Regions) -> None:
    payload = written(regions.personal(EAST))
    assert regions.personal(WEST).reveal(payload) == {"email": SECRET}
    regions.keys[EAST].down = True
    assert regions.personal(WEST).reveal(payload) == {"email": SECRET}


def test_a_region_that_is_down_is_waited_for_and_nothing_is_forgotten_for_it(regions: Regions) -> None:
    payload = written(regions.personal(EAST))
    regions.keys[EAST].down = True
    west = regions.personal(WEST)
    with pytest.raises(KeyUnavailable, match=r"key us-east-1\..* is not here; waiting for other regions: the region does"):
        west.reveal(payload)
    assert not regions.keys[WEST].keys.get(HOMER).forgotten
    regions.keys[EAST].down = False
    regions.now += 30
    assert west.reveal(payload) == {"email": SECRET}


@pytest.mark.parametrize("refusal", ["eu-west-1 refuses GetItem", "table meridian-keys does not exist in us-east-1"])
def test_a_region_that_refuses_is_waited_for_too(regions: Regions, refusal: str) -> None:
    payload = written(regions.personal(EAST))
    regions.keys[EAST].down, regions.keys[EAST].error = True, InvalidConfig(refusal)
    with pytest.raises(KeyUnavailable, match=refusal):
        regions.personal(WEST).reveal(payload)
    assert not regions.keys[WEST].keys.get(HOMER).forgotten


def test_an_envelope_with_a_made_up_key_is_damage(regions: Regions) -> None:
    forged = {"email": {MARKER: {"subject": HOMER, "key": f"{SOUTH}.madeup", "text": "A" * 80}}}
    with pytest.raises(DamagedEvent, match=r"key ap-south-1\.madeup of user/homer is in no region"):
        regions.personal(WEST).reveal(forged)


def test_a_region_that_did_not_answer_is_left_alone_for_a_while(regions: Regions) -> None:
    payload = written(regions.personal(EAST))
    regions.keys[EAST].down = True
    west = regions.personal(WEST)
    before = regions.keys[EAST].asked
    for _ in range(100):
        with pytest.raises(KeyUnavailable):
            west.reveal(payload)
    assert regions.keys[EAST].asked == before + 1


def test_where_home_is_down_a_key_is_had_from_whoever_fetched_it_before(regions: Regions) -> None:
    payload = written(regions.personal(EAST))
    regions.personal(SOUTH).reveal(payload)
    regions.keys[EAST].down = True
    assert regions.personal(WEST).reveal(payload) == {"email": SECRET}


def test_a_key_that_is_lost_though_nobody_forgot_it_is_damage_and_not_forgotten(regions: Regions) -> None:
    payload = written(regions.personal(EAST))
    regions.keys[EAST].keys = MemoryKeys()  # the table was lost
    with pytest.raises(DamagedEvent, match=r"was not forgotten\. Restore the keys table of us-east-1, or accept the loss"):
        regions.personal(WEST).reveal(payload)
    regions.personal(WEST).destroy(HOMER)
    assert regions.personal(WEST).reveal(payload).forgotten == {"email"}


def test_what_one_region_says_is_forgotten_is_forgotten_here_for_good(regions: Regions) -> None:
    payload = written(regions.personal(EAST))
    regions.personal(EAST).destroy(HOMER)
    assert regions.personal(WEST).reveal(payload).forgotten == {"email"}
    assert regions.keys[WEST].keys.get(HOMER) == SubjectKeys(forgotten=True)


def test_the_forgotten_get_no_new_key(regions: Regions) -> None:
    east = regions.personal(EAST)
    written(east)
    east.destroy(HOMER)
    for process in (east, regions.personal(EAST)):
        with pytest.raises(SubjectForgotten, match="user/homer has been forgotten; keep new personal data under another"):
            process.protect(HOMER, {"email": SECRET}, ["email"])


@pytest.mark.parametrize("turn", range(5))
def test_of_protecting_and_forgetting_at_once_nothing_stays_readable(regions: Regions, turn: int) -> None:
    barrier = Barrier(5)

    def protect(_: int) -> dict[str, Any] | None:
        personal = regions.personal(EAST)
        barrier.wait()
        try:
            return written(personal)
        except SubjectForgotten:
            return None

    def destroy() -> None:
        personal = regions.personal(EAST)
        barrier.wait()
        personal.destroy(HOMER)

    with ThreadPoolExecutor(5) as pool:
        protecting = [pool.submit(protect, n) for n in range(4)]
        pool.submit(destroy).result()
        payloads = [payload for each in protecting if (payload := each.result())]
    assert regions.keys[EAST].keys.get(HOMER) == SubjectKeys(forgotten=True)
    for payload in payloads:
        assert regions.personal(WEST).reveal(payload).forgotten == {"email"}


def test_an_unwrapped_key_outlives_the_forgetting_by_another_process_only_so_long(regions: Regions) -> None:
    reader = regions.personal(EAST)
    payload = written(reader)
    regions.personal(EAST).destroy(HOMER)
    assert reader.reveal(payload) == {"email": SECRET}
    regions.now = 61
    assert reader.reveal(payload).forgotten == {"email"}


def test_the_process_that_forgets_drops_the_key_at_once(regions: Regions) -> None:
    personal = regions.personal(EAST)
    payload = written(personal)
    personal.destroy(HOMER)
    with pytest.raises(FieldForgotten):
        personal.reveal(payload)["email"]


def test_the_keys_in_a_process_are_bounded(regions: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replicator.erasure.personal._KEYS_KEPT", 10)
    personal = regions.personal(EAST)
    for n in range(25):
        personal.protect(f"user/{n}", {"email": SECRET}, ["email"])
        personal.destroy(f"gone/{n}")
    assert (len(personal._cache._subjects), len(personal._cache._forgotten)) == (10, 10)


def test_neither_logs_nor_errors_nor_reprs_hold_a_value_or_a_key(regions: Regions) -> None:
    east = regions.personal(EAST)
    with structlog.testing.capture_logs() as logs:
        payload = written(east)
        (key,) = east._cache.keys(HOMER).values()
        east.destroy(HOMER)
    errors: list[str] = []
    attempts: list[Callable[[], Any]] = [
        lambda: east.protect(HOMER, {"email": SECRET}, ["email"]),
        lambda: east.protect("user/bart", {"email": SECRET}, ["phone"]),
        lambda: east.reveal(payload)["email"],
    ]
    for attempt in attempts:
        with pytest.raises((MeridianError, FieldForgotten)) as caught:
            attempt()
        errors.append(repr(caught.value))
    shown = f"{logs} {errors} {east!r} {regions.keys[EAST].keys.get(HOMER)!r}"
    assert [entry["subject"] for entry in logs] == [HOMER]
    for secret in (SECRET, key.hex(), str(key)):
        assert secret not in shown


@pytest.mark.parametrize("subject", ["", "a#b", " x", "a\nb", "x" * 2000])
def test_a_subject_that_cannot_be_part_of_a_key_is_refused(regions: Regions, subject: str) -> None:
    with pytest.raises(InvalidName, match="subject"):
        regions.personal(EAST).protect(subject, {"email": SECRET}, ["email"])


def test_a_wrong_key_file_is_said_and_nothing_is_forgotten_for_it(regions: Regions, tmp_path: Path) -> None:
    payload = written(regions.personal(EAST))
    wrong = PersonalData(EAST, regions.keys, LocalWrapping(tmp_path / "other"))
    with pytest.raises(InvalidConfig, match="was not wrapped by key file"):
        wrong.reveal(payload)


def test_settings_say_whether_and_how_personal_data_is_kept(tmp_path: Path) -> None:
    assert given_personal_data(read_settings({"MERIDIAN_REGION": EAST})) is None
    with pytest.raises(InvalidConfig, match="set MERIDIAN_PERSONAL_KEY to a KMS key's id or alias, or to file:/path"):
        connect_personal_data(Settings(EAST))
    settings = read_settings({"MERIDIAN_REGION": EAST, "MERIDIAN_PERSONAL_KEY": f"file:{tmp_path}/key"})
    assert settings.keys_table == "meridian-keys"
    assert given_personal_data(settings) is not None
    assert (tmp_path / "key").stat().st_size == 32
