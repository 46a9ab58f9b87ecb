"""Progress of a run: bars on a terminal, a line a phase elsewhere."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from replicator.cli.console import err

_TELL_SECONDS = 15.0


class Bars:
    """Watcher that draws progress bars on a terminal, and prints a line a phase elsewhere."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=err,
            disable=not err.is_terminal,
        )
        self._task: TaskID | None = None
        self._phase = ""
        self._told = time.monotonic()

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def phase(self, name: str, total: int) -> None:
        if self._task is not None:
            task = self._progress.tasks[self._task]
            self._progress.update(self._task, completed=task.total)
        self._task = self._progress.add_task(name, total=total)
        if not err.is_terminal:
            err.print(f"{name} …", highlight=False)

    def steps(self, name: str, done: int, total: int) -> None:
        """Record progress of a phase, which begins with its first report."""
        if name != self._phase:
            self._phase = name
            self.phase(name, total)
        self.progress(done)

    def progress(self, done: int) -> None:
        if self._task is None:
            return
        self._progress.update(self._task, completed=done)
        if not err.is_terminal and time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            task = self._progress.tasks[self._task]
            err.print(f"{task.description} {done:,} of {task.total:,.0f}", highlight=False)

    def say(self, text: str) -> None:
        err.print(f"  {text}", highlight=False)
