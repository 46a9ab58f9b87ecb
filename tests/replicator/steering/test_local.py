"""The file that local clients look at: replaced as a whole, never in a circle, the same however often a verb is called."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.ops.steering import SteeringFailed, where
from replicator.ops.steering.local_file import LocalFile

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "steering.json"


def test_away_and_back_can_be_repeated(path: Path) -> None:
    steering = LocalFile(path)
    assert where(path, EAST) == EAST
    for _ in range(2):
        assert steering.away(EAST, WEST) == "steering.json sends the writers of us-east-1 to eu-west-1"
        assert json.loads(path.read_text()) == {"away": {EAST: WEST}}
        assert (where(path, EAST), where(path, WEST)) == (WEST, WEST)
    for _ in range(2):
        assert steering.back(EAST) == "steering.json lets the writers of us-east-1 return to it"
        assert json.loads(path.read_text()) == {"away": {}}
        assert where(path, EAST) == EAST


def test_a_plan_changes_nothing(path: Path) -> None:
    assert "would send the writers of us-east-1 to eu-west-1" in LocalFile(path).plan(EAST, WEST)
    assert "back to us-east-1" in LocalFile(path).plan(EAST, None)
    assert not path.exists()


def test_writers_of_a_region_that_was_left_in_turn_go_on_to_the_next(path: Path) -> None:
    steering = LocalFile(path)
    steering.away(EAST, WEST)
    steering.away(WEST, SOUTH)
    assert [where(path, region) for region in (EAST, WEST, SOUTH)] == [SOUTH, SOUTH, SOUTH]


def test_sending_writers_to_a_region_that_is_away_brings_it_back(path: Path) -> None:
    steering = LocalFile(path)
    steering.away(EAST, WEST)
    steering.away(WEST, EAST)
    assert [where(path, region) for region in (EAST, WEST)] == [EAST, EAST]


@given(st.lists(st.tuples(st.permutations([EAST, WEST, SOUTH]), st.booleans()), max_size=12))
def test_whatever_was_done_nobody_goes_in_a_circle(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[list[str], bool]]
) -> None:
    path = tmp_path_factory.mktemp("steering") / "s.json"
    for (region, to, _), away in moves:
        if away:
            LocalFile(path).away(region, to)
            assert where(path, region) == to
        else:
            LocalFile(path).back(region)
            assert where(path, region) == region
    assert {where(path, region) for region in (EAST, WEST, SOUTH)} <= {EAST, WEST, SOUTH}


def test_runs_at_the_same_time_lose_nothing_of_each_other(path: Path) -> None:
    regions = [f"us-east-{number}" for number in range(1, 41)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda region: LocalFile(path).away(region, WEST), regions))
    assert json.loads(path.read_text())["away"] == dict.fromkeys(regions, WEST)


def test_a_reader_never_sees_half_a_file(path: Path) -> None:
    steering, done = LocalFile(path), []

    def write() -> None:
        for _ in range(100):
            steering.away(EAST, WEST)
            steering.back(EAST)
        done.append(True)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not done and not writing.done():
            assert where(path, EAST) in (EAST, WEST)
        writing.result()


def test_what_a_killed_run_left_beside_the_file_does_not_matter(path: Path) -> None:
    path.with_name(".steering.json.new").write_text('{"away": {"us-e')
    LocalFile(path).away(EAST, WEST)
    assert where(path, EAST) == WEST
    assert [each.name for each in path.parent.iterdir()] == ["steering.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"away": []}', '{"away": {"us-east-1": 1}}', "{"])
def test_a_file_that_is_not_of_the_form_is_named_and_left_alone(path: Path, text: str) -> None:
    path.write_text(text)
    for verb in (lambda: where(path, EAST), lambda: LocalFile(path).away(EAST, WEST)):
        with pytest.raises(SteeringFailed, match=r"steering\.json is not of the form .*; correct it, or remove it"):
            verb()
    assert path.read_text() == text


def test_a_circle_that_somebody_wrote_is_named(path: Path) -> None:
    path.write_text(json.dumps({"away": {EAST: WEST, WEST: EAST}}))
    with pytest.raises(SteeringFailed, match="sends us-east-1 in a circle; let its writers return"):
        where(path, EAST)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SteeringFailed, match=r"there is no directory for .*steering\.json .*; create it"):
        LocalFile(tmp_path / "missing" / "steering.json").away(EAST, WEST)
