"""Shards of a stream that several workers share: each reads those whose leases it holds. docs/decisions/0036."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import structlog

from replicator.aws.shards import Shard, Shards
from replicator.control.leases import Held, Leases
from replicator.domain.errors import RegionUnavailable
from replicator.replication.batch_reader import Batch

log = structlog.get_logger()

_SHARE_AGAIN_SECONDS = 1.0


class ShardsShared:
    """Custody of the shards that this worker has leases of. A lease and its checkpoint are one record."""

    def __init__(self, shards: Shards, leases: Leases) -> None:
        self._shards = shards
        self._leases = leases
        self._share_again = -math.inf

    def meet(self, found: dict[str, Shard]) -> None:
        """Note the shards that the stream has now. Their leases say where to begin."""
        shards = self._shards
        if not shards.resumed:
            shards.load_mark()
            saved = shards.checkpoints.load(shards.stream)  # after the mark, which is one of shards without a record
            for name in found.keys() - saved.keys():
                shards.age(found[name])
            shards.resumed = True
        shards.unsaved |= found.keys() - shards.known.keys()
        before = {name: shard for name, shard in shards.known.items() if shard.vanished == (name not in found)}
        gone = {name: shard for name, shard in before.items() if shard.vanished and not shard.finished}
        shards.known = {name: before.get(name, shard) for name, shard in found.items()} | gone

    def share(self) -> None:
        """Take and give up leases, if it is time. A shard begins where its checkpoint is, whatever was read of it before."""
        shards, leases, now = self._shards, self._leases, self._shards.monotonic()
        if not (leases.due or not leases.valid) or (now < self._share_again and leases.valid):
            return
        self._share_again = now + _SHARE_AGAIN_SECONDS
        parents = {name: shard.parents for name, shard in shards.known.items() if not shard.vanished}
        saw = shards.saw if shards.known else -math.inf  # no shards are known yet, which says of none that it is gone
        try:
            leases.look(shards.stream, parents, saw, {name: shard.floor for name, shard in shards.known.items()})
        except RegionUnavailable as error:
            if not leases.valid:
                raise
            log.warning("leases.not_looked_at", error=str(error))
        else:
            self._share_again = -math.inf
        for name in leases.leaving & shards.known.keys():
            self._release(name)
        shards.known |= {name: Shard(vanished=True) for name in leases.vanished - shards.known.keys()}
        for name, shard in list(shards.known.items()):
            held, record = leases.shards.get(name), leases.records.get(name, {})
            if held is None:
                closed = record.get("stream") == shards.stream and record["closed"]
                kept = Shard(shard.parents, since=shard.since, finished=closed, vanished=shard.vanished, floor=shard.floor)
                shards.known[name] = kept
            elif held.term != shard.term:
                self._begin(name, held)
        recorded = {name for name, value in leases.records.items() if value.get("stream") == shards.stream}
        shards.unsaved = shards.known.keys() - recorded - leases.shards.keys()

    def _begin(self, name: str, held: Held) -> None:
        """Begin to read a shard whose lease was taken."""
        shards, leases = self._shards, self._leases
        before, floor = shards.known[name], leases.floor(shards.stream, name)
        shard = Shard(before.parents, held.value["position"], since=before.since, term=held.term, vanished=before.vanished)
        if shard.position is None:
            shard.floor = max(before.floor, floor)
            if math.isfinite(floor) and math.isfinite(shards.told):
                shard.since = max(shard.since, shards.monotonic() - max(0.0, shards.told - floor))
            known = leases.records.keys() | shards.known.keys()
            shard.trimmed = not known.issuperset(shard.parents)  # a parent expired before anybody knew it
        shards.known[name] = shard

    def _release(self, name: str) -> None:
        """Release a shard that another worker is to have, once all that was read of it is committed."""
        if self._shards.known[name].idle:
            try:
                self._leases.release(name)
            except RegionUnavailable as error:
                log.warning("lease.not_released", shard=name, error=str(error))
            else:
                log.info("lease.released", shard=name)

    def holds(self, name: str, shard: Shard) -> bool:
        leases = self._leases
        held = leases.shards.get(name)
        return held is not None and held.term == shard.term and name not in leases.leaving and leases.valid

    def compares(self, shard: Shard, claim: bool = True) -> bool | None:
        return self._leases.compare(self._shards.stream, self._shards.told, fresh=not shard.pages, claim=claim)

    def commit(self, batch: Batch) -> None:
        shards, leases = self._shards, self._leases
        held, shard = leases.shards.get(batch.shard), shards.known.get(batch.shard)
        if held is None or shard is None or not held.term == shard.term == batch.term:
            log.info("lease.not_held", shard=batch.shard, position=batch.position)  # who holds it reads these records again
        elif batch.position is None and not batch.closed:
            shard.idle |= shard.handed == (None, False)
        elif leases.save(batch.shard, batch.position, batch.closed):
            shard.idle = (batch.position, batch.closed) == shard.handed
            if batch.shard in leases.leaving:
                self._release(batch.shard)
        if batch.trimmed:
            shards.owed.pop(batch.shard, None)
            leases.compared(shards.stream)
            for name, each in shards.known.items():
                each.floor = max(each.floor, leases.floor(shards.stream, name))

    def leave(self) -> None:
        self._leases.release_all()
        self._leases.soon()

    def session(self) -> AbstractContextManager[None]:
        return self._leases.session()
