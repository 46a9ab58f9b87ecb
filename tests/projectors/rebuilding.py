"""A process that rebuilds a projection, to be killed: `python -m tests.projectors.rebuilding HISTORY`. Events come from that
file: the emulator takes minutes to list the keys of a large table. Views and checkpoints are in the region's tables."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from projectors.sinks.dynamodb import DynamoSink
from projectors.versions.rebuild import Rebuild
from projectors.versions.versions import Versions
from replicator import EventStore, MemoryStorage
from replicator.aws.control_table import DynamoControl
from replicator.runtime.settings import read_settings
from tests.projectors.fleet import Aircraft2

if __name__ == "__main__":
    settings = read_settings()
    storage = MemoryStorage()
    storage.insert_each(pickle.loads(Path(sys.argv[1]).read_bytes()))
    store = EventStore(storage, settings.region, settings.regions)
    build, failures = Rebuild(Aircraft2, store, DynamoSink(settings), Versions(DynamoControl(settings))).run()
    sys.exit(0 if build.built and not failures else 1)
