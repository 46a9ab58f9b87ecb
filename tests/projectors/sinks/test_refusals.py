"""What DynamoDB, or something before it, answers to a view that is saved: what is at its key decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from projectors.engine.sink import Change, ViewRefused
from projectors.model.view import View
from projectors.sinks.dynamodb import DynamoSink
from replicator.domain.errors import MeridianError, RegionUnavailable
from replicator.domain.vector import VersionVector
from replicator.runtime.settings import Settings
from tests.projectors.sinks.views import create, view
from tests.replicator.test_strange_answers import ANSWERS, Engine, engine, server, settings

__all__ = ["engine", "server", "settings"]
CODES = ["DuplicateItem", "DuplicateItemException", "ConditionalCheckFailed", "ValidationError", "Teapot", None, 7]
LOST = {"DuplicateItem", "DuplicateItemException", "ConditionalCheckFailed"}


def answered(code: object) -> tuple[int, bytes]:
    return 200, json.dumps({"Responses": [{"Error": {"Code": code, "Message": "no"}}]}).encode()


def held(settings: Settings, *views: View) -> tuple[int, bytes]:
    items = [
        {"pk": {"S": f"{each.projection}@{each.version}#{each.key}"}, "sk": {"S": "-"}, "version": {"N": f"{each.version}"},
         "vector": {"S": str(each.vector)}, "state": {"S": each.state_text}, "value": {"S": each.value_text},
         "digest": {"B": _base64(each.digest)}}
        for each in views
    ]  # fmt: skip
    return 200, json.dumps({"Responses": {settings.views_table: items}}).encode()


def _base64(value: bytes) -> str:
    from base64 import b64encode

    return b64encode(value).decode()


@pytest.mark.parametrize("code", CODES, ids=str)
def test_a_view_is_saved_where_it_is_there_and_lost_where_another_is(
    engine: Engine, settings: Settings, code: object
) -> None:
    sink, ours, theirs = DynamoSink(settings), view(2), view(3)
    engine.write = answered(code)
    for before in (None, VersionVector({"us-east-1": 1, "eu-west-1": 7})):
        engine.read = held(settings, ours)
        assert sink.save([Change(before, ours)]) == [True]
        engine.read = held(settings, theirs)
        assert sink.save([Change(before, ours)]) == [False]
    engine.read = held(settings)
    if code in LOST:
        assert sink.save([create(ours)]) == [False]
    else:
        refused = ViewRefused if code == "ValidationError" else RegionUnavailable  # for what the view is, or not
        with pytest.raises(refused, match="did not take view"):
            sink.save([create(ours)])


@pytest.mark.parametrize("name", ANSWERS)
def test_only_errors_of_meridian_leave_the_sink(engine: Engine, settings: Settings, name: str) -> None:
    sink, ours = DynamoSink(settings), view(2)
    calls: Mapping[str, Any] = {
        "save": lambda: sink.save([create(ours)]),
        "load": lambda: sink.load([ours.id]),
        "views": lambda: list(sink.views("plane")),
        "discard": lambda: sink.discard([ours.id]),
        "drop": lambda: list(sink.drop("plane", 1)),
    }
    for read in (None, ANSWERS[name]):
        engine.write, engine.read = ANSWERS[name], read
        for what, call in calls.items():
            try:
                call()
            except MeridianError:
                pass
            except Exception as error:
                raise AssertionError(f"{what} raised {type(error).__name__}") from error
