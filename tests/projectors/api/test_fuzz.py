"""The API under fuzz: whatever schemathesis makes of its own document, no answer is a 5xx and each is as documented."""

from __future__ import annotations

from functools import partial

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette

from projectors import MemorySink, Projection, counter, register
from projectors.api import Service, application
from projectors.connect import require_tables
from projectors.sinks.dynamodb import DynamoSink
from replicator import EventStore, MemoryStorage
from replicator.connect import connect_store
from replicator.runtime.settings import Settings

OPERATIONS = 9  # all but the document's own
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip


class Account(Projection):
    name, stream_type = "account", "user"
    email = register(email_set=lambda p: p["value"])
    logins = counter(logged_in=lambda p: 1)


def fuzz(app: Starlette, examples: int) -> int:
    """Call every operation with requests that fit the document and with ones that do not. Returns how many were made."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == OPERATIONS
    made = 0
    for operation in operations:
        for mode in GenerationMode:
            if mode.is_negative and not (
                operation.query or operation.headers or operation.body or operation.path_parameters
            ):
                continue  # nothing in it can be wrong

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            def call(case: schemathesis.Case) -> None:
                nonlocal made
                made += 1
                case.call_and_validate(checks=CHECKS)

            call()
    return made


def test_no_request_makes_the_api_in_memory_fail() -> None:
    store = EventStore(MemoryStorage(), "us-east-1", ["us-east-1", "eu-west-1"])
    assert fuzz(application(Service(store, [Account], MemorySink(), timeout=0.01)), examples=8) > 60


@pytest.mark.emulator
def test_no_request_makes_the_api_on_the_emulator_fail(emptied_settings: Settings) -> None:
    store, sink = connect_store(emptied_settings), DynamoSink(emptied_settings)
    assert (
        fuzz(
            application(Service(store, [Account], sink, check=partial(require_tables, emptied_settings), timeout=0.05)),
            examples=4,
        )
        > 40
    )


@pytest.mark.soak
def test_no_request_makes_the_api_fail_for_long() -> None:
    store = EventStore(MemoryStorage(), "us-east-1", ["us-east-1", "eu-west-1"])
    assert fuzz(application(Service(store, [Account], MemorySink(), timeout=0.01)), examples=300) > 1500
