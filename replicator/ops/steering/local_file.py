"""Steering file that clients on this machine read: `{"away": {"us-east-1": "eu-west-1"}}`."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from replicator.ops.steering.steering_failed import SteeringFailed, check_move

_AWAY = "away"


class LocalFile:
    """Maintains the file. It is replaced as a whole: a reader sees the state before or after, even if this process or the
    machine stops on the way. Runs on one machine wait for each other."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def plan(self, region: str, to: str | None) -> str:
        check_move(region, to)
        where_to = f"back to {region}" if to is None else f"to {to}"
        return f"{self._path.name} would send the writers of {region} {where_to}"

    def away(self, region: str, to: str) -> str:
        check_move(region, to)
        with self._changing() as moved:
            moved.pop(to, None)  # writers sent to a region must not be sent on from there, least of all in a circle
            moved[region] = to
        return f"{self._path.name} sends the writers of {region} to {to}"

    def back(self, region: str) -> str:
        check_move(region, None)
        with self._changing() as moved:
            moved.pop(region, None)
        return f"{self._path.name} lets the writers of {region} return to it"

    @contextmanager
    def _changing(self) -> Iterator[dict[str, str]]:
        try:
            directory = os.open(self._path.parent, os.O_RDONLY)
        except OSError as error:
            raise SteeringFailed(
                f"there is no directory for {self._path} ({error.strerror}); create it, or correct MERIDIAN_STEERING"
            ) from None
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            before, moved = _read(self._path), _read(self._path)
            yield moved
            if moved != before or not self._path.exists():
                self._write({_AWAY: dict(sorted(moved.items()))}, directory)
        except OSError as error:
            raise SteeringFailed(
                f"{self._path} cannot be written ({error.strerror}); nothing was changed. Correct that, and run this again"
            ) from None
        finally:
            os.close(directory)

    def _write(self, content: Mapping[str, Any], directory: int) -> None:
        new = self._path.with_name(f".{self._path.name}.new")
        with new.open("w") as file:
            file.write(json.dumps(content) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        os.fsync(directory)


def where(path: str | Path, region: str) -> str:
    """Return the region that a client of `region` should write to now: itself unless its writers were sent away.

    Cheap enough to call before every write. Raises SteeringFailed for a file that Meridian did not write.
    """
    moved, here, seen = _read(Path(path)), region, {region}
    while here in moved:
        here = moved[here]
        if here in seen:
            raise SteeringFailed(f"{path} sends {region} in a circle; let its writers return: remove {here} from {_AWAY!r}")
        seen.add(here)
    return here


def _read(path: Path) -> dict[str, str]:
    try:
        moved = json.loads(path.read_text())[_AWAY]
        if not isinstance(moved, dict) or not all(isinstance(to, str) for to in moved.values()):
            raise ValueError
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SteeringFailed(f"{path} cannot be read ({error.strerror}); correct that, or its path") from None
    except (ValueError, KeyError, TypeError):
        raise SteeringFailed(
            f'{path} is not of the form {{"{_AWAY}": {{"us-east-1": "eu-west-1"}}}}; correct it, or remove it if '
            "no region is away"
        ) from None
    return moved
