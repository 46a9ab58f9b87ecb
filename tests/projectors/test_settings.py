"""The projectors' own settings: sinks by their addresses."""

from __future__ import annotations

import pytest

from projectors.settings import read_sinks, sink_id
from replicator.domain.errors import InvalidConfig

DATABASE = "postgresql://meridian:not-a-secret@host:5432/views"


@pytest.mark.parametrize(
    "address", ["dynamodb", "postgresql://host:5432/views", "redis://host:6379/0", "opensearch+https://host:9200"]
)
def test_a_sink_whose_address_is_shown_whole_is_known_by_it(address: str) -> None:
    assert sink_id(address) == address


def test_sinks_that_differ_in_what_is_not_shown_are_told_apart_and_a_password_tells_nothing() -> None:
    apart = [
        "postgresql://host:5432/views",
        DATABASE,
        "postgresql://other:not-a-secret@host:5432/views",
        DATABASE + "?options=-csearch_path%3Dshop",
        DATABASE + "?options=-csearch_path%3Dbilling",
    ]
    ids = [sink_id(each) for each in apart]
    assert len(set(ids)) == len(apart)
    assert all(each.startswith("postgresql://host:5432/views") and " " not in each for each in ids)
    assert "secret" not in str(ids)
    for same in (
        DATABASE.replace("not-a-secret", "an@other"),
        DATABASE.replace(":not-a-secret", ""),
        DATABASE + "?password=x",
        DATABASE.replace(":not-a-secret", "") + "?password=y",
    ):
        assert sink_id(same) == sink_id(DATABASE), same
    assert sink_id("redis://h:6379?db=1") != sink_id("redis://h:6379?db=2")


def test_one_sink_is_not_named_twice_whatever_the_password() -> None:
    other = DATABASE + "?options=-csearch_path%3Dshop"
    assert read_sinks(["dynamodb", DATABASE, other]) == ["dynamodb", DATABASE, other]
    with pytest.raises(InvalidConfig, match=r"named twice \(postgresql://host:5432/views\)") as raised:
        read_sinks([DATABASE, DATABASE.replace("not-a-secret", "another")])
    assert "secret" not in str(raised.value)
