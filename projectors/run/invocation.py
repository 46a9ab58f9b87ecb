"""Driver of the projector by a function's invocations: stream batches, and pointers on the views' queue.

Every sink's lanes wait on that queue, each sink's under a link of its own. So a secondary sink that is back is brought up to
date by the function that takes messages from there, whether or not the stream has anything new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from projectors.run.projector import Projector
from replicator.control.backlog import merged
from replicator.domain.errors import RegionUnavailable
from replicator.replication.lambda_batches import Answer, Message, item_failures, read_messages, stream_answer
from replicator.runtime.time_left import Fits

log = structlog.get_logger()


@dataclass(slots=True)
class Inbound:
    """Drives the projector of one region by invocations."""

    projector: Projector
    partial: bool = True

    def project(self, records: Sequence[Message]) -> Answer:
        """Fold a stream batch. Lanes go to the backlog if a sink cannot be reached. Raises BatchFailed or RegionUnavailable
        when the batch must come again."""
        self._look()
        lost = self.projector.project(records)
        return stream_answer(records, lost, self.partial)

    def catch_up(self, messages: Sequence[Message], fits: Fits) -> Answer:
        """Bring the views of whole lanes up to what is here. The answer names the messages to keep. Without messages (an
        invocation on a schedule), bring up the lanes on the backlogs."""
        feeds = {feed.link: feed for feed in self.projector.feeds}
        found, failed = read_messages(messages, feeds)
        for link, parts in found.items():
            try:
                self.projector.bring(feeds[link], merged([pointers for _, pointers in parts]), fits)
            except RegionUnavailable as error:
                log.error("backlog.unavailable", link=link, error=str(error))
                failed += [message_id for message_id, _ in parts]
        if not messages:
            self.projector.drain(fits)
        self._look()
        return item_failures(failed)

    def _look(self) -> None:
        try:
            self.projector.look()
        except RegionUnavailable as error:  # no reason to fail what is done
            log.warning("quarantine.not_looked_at", error=str(error))
