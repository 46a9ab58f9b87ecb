"""A world that closes tries everything, whatever becomes of the parts; an interrupt waits for its end."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chaos.child_processes import Process
from chaos.world import region as regions
from chaos.world.world import World, WorldOptions
from replicator.aws import clients

EAST, WEST = "us-east-1", "eu-west-1"


class Tables:
    """A service whose tables refuse to be deleted: each with these codes, one after the other, and then no more."""

    def __init__(self, refusals: dict[str, list[str]]) -> None:
        self.refusals = refusals
        self.tried: list[str] = []

    def get_paginator(self, name: str) -> Any:
        assert name == "list_tables"
        return self

    def paginate(self) -> list[dict[str, list[str]]]:
        return [{"TableNames": [*self.refusals, "another-events"]}]

    def delete_table(self, TableName: str) -> None:  # noqa: N803
        self.tried.append(TableName)
        if self.refusals[TableName]:
            code = self.refusals[TableName].pop(0)
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, "DeleteTable")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("chaos.world.region.time.sleep", lambda _: None)

    def made(refusals: dict[str, list[str]]) -> tuple[World, Tables]:
        tables = Tables(refusals)
        monkeypatch.setattr(clients, "dynamodb", lambda *_: tables)
        world = World([EAST, WEST], options=WorldOptions(endpoints={WEST: "http://127.0.0.1:1"}, prefix="p"))
        world._furnished = True
        return world, tables

    return made


def test_each_table_is_tried_and_those_that_are_left_are_named(elsewhere: Any, capsys: pytest.CaptureFixture[str]) -> None:
    refusals = {"p-a": ["AccessDeniedException"], "p-b": ["ResourceInUseException"] * 2, "p-c": [], "p-d": []}
    refusals["p-d"] = ["ResourceNotFoundException"]
    world, tables = elsewhere(refusals)
    world.close()
    assert tables.tried == ["p-a", "p-b", "p-c", "p-d", "p-b", "p-b"]
    said = " ".join(capsys.readouterr().err.split())
    assert "table p-a is left in eu-west-1 at http://127.0.0.1:1: An error occurred (AccessDeniedException)" in said
    assert "p-b" not in said
    assert not world.logs.exists()


def test_a_table_that_is_in_use_for_good_is_named(
    elsewhere: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(regions, "_DELETE_SECONDS", 0.0)
    world, _ = elsewhere({"p-a": ["ResourceInUseException"] * 2, "p-b": []})
    world.close()
    assert "table p-a is left in eu-west-1" in " ".join(capsys.readouterr().err.split())


def test_a_process_that_cannot_be_stopped_ends_no_others_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []

    def stop(process: Process, timeout: float = 10.0) -> None:
        stopped.append(process.name)
        if process.name == f"replicator of {EAST}":
            raise PermissionError("not yours")

    monkeypatch.setattr(Process, "stop", stop)
    world = World([EAST, WEST], options=WorldOptions(proxied=True, faulty=True))
    with pytest.raises(PermissionError, match="not yours"):
        world.close()
    workers = [f"{program} of {region}" for region in (EAST, WEST) for program in ("replicator", "projector")]
    assert stopped == [*workers, f"emulator of {EAST}", f"emulator of {WEST}", "faults", "network"]
    assert not world.logs.exists()


def test_an_interrupt_while_it_closes_waits_until_it_has_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []

    def stop(process: Process, timeout: float = 10.0) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        stopped.append(process.name)

    monkeypatch.setattr(Process, "stop", stop)
    before, interrupting = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    try:
        world = World([EAST], options=WorldOptions(workers=False))
        with pytest.raises(KeyboardInterrupt):
            world.close()
        assert stopped == [f"emulator of {EAST}"]
        assert not world.logs.exists()
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        signal.signal(signal.SIGINT, interrupting)


def test_in_another_thread_it_closes_as_well() -> None:
    world = World([EAST], options=WorldOptions(workers=False))
    closing = threading.Thread(target=world.close)
    closing.start()
    closing.join()
    assert not world.logs.exists()


def test_a_process_is_stopped_as_the_kernel_has_it(tmp_path: Path) -> None:
    process = Process("sleeper", ["sleep", "60"], {}, tmp_path / "log")
    process.freeze()
    assert (process.frozen, process.stopped, process.pids) == (True, False, [])
    process.start()
    try:
        assert not process.stopped
        process.freeze()
        while not process.stopped:
            process.wait_running(0.01)
        process.kill()
        assert not process.stopped
        process.start()
        assert len(set(process.pids)) == 2
    finally:
        process.stop()
