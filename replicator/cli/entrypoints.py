"""Entry points of the three commands. They import nothing before a signal can end them: docs/operating.md."""

from __future__ import annotations

from importlib import import_module

from replicator.runtime.signals import loading


def replicator() -> None:
    _start("replicator.cli.app")


def projectors() -> None:
    _start("projectors.cli.app")


def chaos() -> None:
    _start("chaos.cli.app")


def _start(module: str) -> None:
    loading()
    import_module(module).main()
