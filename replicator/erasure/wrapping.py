"""Key wrapping (envelope encryption): keeps the stored keys of subjects unreadable. By KMS, or by a key file on a laptop."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from replicator.domain.canonical import netstrings
from replicator.domain.errors import DamagedEvent, InvalidConfig
from replicator.erasure.envelope import KEY_BYTES, NONCE_BYTES, aes

_ENCODING = b"meridian.wrapped.1"
_MARK_BYTES = 8


class Wrapping(Protocol):
    """Creates and unwraps keys. A wrapped key is bound to its subject: for another one it does not unwrap."""

    def generate(self, subject: str) -> tuple[bytes, bytes]:
        """Create a random key of 32 bytes; return it, and the same key wrapped. Raises InvalidConfig or
        RegionUnavailable."""

    def unwrap(self, subject: str, wrapped: bytes) -> bytes:
        """Return the key. Raises InvalidConfig for wrong settings or missing permission, DamagedEvent for a damaged record,
        RegionUnavailable; never anything that could be taken for "forgotten"."""


class LocalWrapping:
    """Wraps with the key in a file of 32 bytes that only its owner can read. The file is created if it is missing.

    A wrapped key begins with a mark of the file that wrapped it, which distinguishes another file from damage.
    Raises InvalidConfig with the file and the remedy.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        key = _read_or_make(self._path)
        self._mark = sha256(_ENCODING + key).digest()[:_MARK_BYTES]
        self._cipher = aes(key)

    def __repr__(self) -> str:
        return f"LocalWrapping({str(self._path)!r})"

    def generate(self, subject: str) -> tuple[bytes, bytes]:
        key, nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(NONCE_BYTES)
        return key, self._mark + nonce + self._cipher.encrypt(nonce, key, _context(subject))

    def unwrap(self, subject: str, wrapped: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(wrapped) > _MARK_BYTES and wrapped[:_MARK_BYTES] != self._mark:
            raise InvalidConfig(
                f"a key of {subject} was not wrapped by key file {self._path}; restore the earlier MERIDIAN_PERSONAL_KEY"
            )
        nonce, sealed = wrapped[_MARK_BYTES : _MARK_BYTES + NONCE_BYTES], wrapped[_MARK_BYTES + NONCE_BYTES :]
        try:
            return bytes(self._cipher.decrypt(nonce, sealed, _context(subject)))
        except (InvalidTag, ValueError):
            raise DamagedEvent(f"a stored key of {subject} is damaged or belongs to another subject") from None


def _context(subject: str) -> bytes:
    return netstrings(_ENCODING, subject.encode())


def _read_or_make(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise InvalidConfig(f"key file {path} cannot be used: {error.strerror}. Correct MERIDIAN_PERSONAL_KEY") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidConfig(f"key file {path} is open to other users (mode {stat.S_IMODE(mode):04o}); run: chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise InvalidConfig(f"key file {path} does not hold {KEY_BYTES} bytes; restore it, or name a new one to create it")
    return key


def _make(path: Path) -> None:
    """Create the file aside and link it: no reader sees half a key, and of two concurrent creators one wins."""
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp's mode is 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        os.unlink(part)
