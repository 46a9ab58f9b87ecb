"""Shards of a stream that one reader reads alone, each from its checkpoint."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

from replicator.aws.shards import Shard, Shards, orphans
from replicator.replication.batch_reader import Batch


class ShardsAlone:
    """Custody of all shards."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._vanished: set[str] = set()

    def meet(self, found: dict[str, Shard]) -> None:
        shards = self._shards
        if not shards.resumed:
            self._resume(found)
            return
        vanished = {name for name, shard in shards.known.items() if name not in found and not shard.finished}
        self._vanished |= vanished
        lost = bool(vanished) or orphans(found, shards.known)
        shards.unsaved = (shards.unsaved & found.keys()) | (found.keys() - shards.known.keys())
        shards.known = {name: shards.known.get(name, shard) for name, shard in found.items()}
        if lost:  # a shard expired before it was read to its end
            for shard in shards.known.values():
                shard.trimmed = not shard.finished

    def _resume(self, found: dict[str, Shard]) -> None:
        shards = self._shards
        saved = shards.checkpoints.load(shards.stream)
        shards.unsaved = found.keys() - saved.keys()
        if shards.unsaved:
            shards.load_mark()
        for name, shard in found.items():
            if name in saved:
                shard.position, shard.finished = saved[name]["position"], bool(saved[name]["closed"])
            else:
                shards.age(shard)
        self._vanished = {name for name, state in saved.items() if not state["closed"] and name not in found}
        if self._vanished or orphans(found, saved):
            for shard in found.values():
                shard.trimmed = True
        shards.resumed, shards.known = True, found

    def share(self) -> None:
        """Do nothing: there is only this reader."""

    def holds(self, name: str, shard: Shard) -> bool:
        return True

    def compares(self, shard: Shard, claim: bool = True) -> bool | None:
        return True

    def commit(self, batch: Batch) -> None:
        shards = self._shards
        if batch.position is not None or batch.closed:
            shards.checkpoints.save(shards.stream, batch.shard, batch.position, batch.closed)
            shards.unsaved.discard(batch.shard)
        compared = shards.owed.pop(batch.shard, -math.inf) if batch.trimmed else -math.inf
        for name in shards.unsaved & shards.known.keys():  # all lanes were compared, whatever shard their events are in
            shards.known[name].floor = max(shards.known[name].floor, compared)
        if batch.trimmed and self._vanished:  # their loss has been handled: the next start need not repeat it
            for shard in self._vanished:
                shards.checkpoints.save(shards.stream, shard, None, True)
            self._vanished = set()

    def leave(self) -> None:
        self._vanished = set()

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()
