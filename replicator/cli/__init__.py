"""Command line: the `replicator` command."""
