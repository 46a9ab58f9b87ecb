"""Session guarantees: a read at a session's token includes what the session wrote and has seen, and its value is
explained."""

from __future__ import annotations

from chaos.checker.causes import Knowledge, dominates, stream_of, vector_of
from chaos.checker.claim_values import explain
from chaos.checker.history import Call, History, Outcome
from chaos.checker.verdict import Verdict


def check_sessions(verdict: Verdict, known: Knowledge, history: History) -> None:
    """Judge every read. Events that are gone with a region that lost its data are not required, as no read can return
    them."""
    written: dict[tuple[str, str], dict[str, int]] = {}
    read: dict[tuple[str, str], dict[str, int]] = {}
    ended = [call for call in history.calls if call.outcome is Outcome.OK]
    reads = [(call.began, call) for call in ended if call.name == "read"]
    writes = [(call.done or 0, call) for call in ended if isinstance(call.value, list)]
    for _, call in sorted((*reads, *writes), key=lambda pair: pair[0]):
        if call.name == "read":
            _judge(verdict, known, call, written, read)
            continue
        for event in call.events:
            region = event.lane.partition("#")[0]
            own = written.setdefault((call.process, stream_of(event.lane)), {})
            own[region] = max(own.get(region, 0), event.sequence)


def _judge(
    verdict: Verdict,
    known: Knowledge,
    call: Call,
    written: dict[tuple[str, str], dict[str, int]],
    read: dict[tuple[str, str], dict[str, int]],
) -> None:
    stream = call.value["stream"]
    found = vector_of(call.seen)
    seen = found if found is not None else {}
    session = (call.process, stream)
    for promise, before in (
        ("read_your_writes", written.get(session, {})),
        ("monotonic_reads", call.context.get(stream, {})),
        ("monotonic_reads", read.get(session, {})),
    ):
        verdict.look(promise, 1 if before else 0)
        if not dominates(seen, still := known.still(stream, before)):
            verdict.breach(promise, f"{call.process} read {stream} at {dict(seen)} in {call.region}, after {still}")
    latest = read.setdefault(session, {})
    for region, sequence in seen.items():
        latest[region] = max(latest.get(region, 0), sequence)
    verdict.look("reads_explained")
    where = f"{call.process} read {stream} at {dict(seen)} in {call.region}"
    if found is None:
        verdict.breach("reads_explained", f"{where}: it got {call.seen!r}, which is not a version vector")
    if (nowhere := known.nowhere(stream, seen)) is not None:
        verdict.breach("reads_explained", f"{where}: no call wrote {nowhere[0]} {nowhere[1]}")
        return
    if not known.means_the_same(stream, seen):
        return
    for promise, why in explain(known, stream, seen, call.found):
        verdict.breach("reads_explained", f"{where}: {promise}: {why}")
