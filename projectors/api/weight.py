"""Weight of an answer as a Lambda function returns it: JSON as a text within JSON, at most 6 MB (6,291,556 bytes).

Source: AWS Lambda quotas, "Invocation payload"; awslambdaric's lambda_runtime_marshaller, which escapes what is not ASCII in
the runtimes before Python 3.12, to six bytes for two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from projectors.api.problems import Problem
from replicator.domain.event import NewEvent

T = TypeVar("T")

MAX_ANSWER_BYTES = 5_900_000
"""Maximum bytes of a body, as it is carried. The rest is for headers: a token has 8,192 characters at most."""
MAX_PAGE_BYTES = 5_000_000
"""Maximum bytes of a page's entries, as they are carried. A page has at least one: no stored event exceeds 1.3 MB."""
_AROUND_BYTES = 6_000
"""Maximum bytes of an event beside its payload and metadata, as it is carried: names of 1,280 bytes twice, a vector, a
digest."""


def carried(value: Any) -> int:
    """Return the bytes of a JSON value in a body, as Lambda carries it."""
    return len(json.dumps(json.dumps(value, ensure_ascii=False, separators=(",", ":")))) - 2


def check_answer(body: Any) -> None:
    """Raise Problem for a body that no function could return."""
    if (size := carried(body)) > MAX_ANSWER_BYTES:
        detail = (
            f"the value would be an answer of {size:,} bytes; the limit is {MAX_ANSWER_BYTES:,}. Keep less in the projection"
        )
        raise Problem("cannot-be-projected", 500, detail)


def check_echo(events: Iterable[NewEvent]) -> None:
    """Raise Problem, before anything is written, if the answer to a write, which holds its events, could not be returned."""
    size = sum(len(json.dumps(each.payload_text + each.metadata_text)) + _AROUND_BYTES for each in events)
    if size > MAX_ANSWER_BYTES:
        detail = (
            f"the answer, which holds the events, could have {size:,} bytes; the limit is {MAX_ANSWER_BYTES:,}. Nothing was "
            "written; send fewer events at once"
        )
        raise Problem("too-large", 413, detail)


class Entries(Generic[T]):
    """Entries of a page, each made and weighed once. `shown` makes the JSON object of one."""

    def __init__(self, shown: Callable[[T], dict[str, Any]]) -> None:
        self._shown = shown
        self._made: list[dict[str, Any]] = []

    def weigh(self, each: T) -> int:
        """Make the next entry. Returns its bytes as it is carried."""
        entry = self._shown(each)
        self._made.append(entry)
        return carried(entry) + 1  # plus a comma

    def first(self, count: int) -> list[dict[str, Any]]:
        """Return the first `count` entries."""
        return self._made[:count]
