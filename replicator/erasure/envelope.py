"""Envelope of a personal value inside a payload: encrypted, with its subject and key id.

`{"$personal": {"subject": "user/homer", "key": "us-east-1.Gd8…", "text": "…"}}`. The text is base64 (RFC 4648, section 5) of
a nonce of 12 bytes and the value's JSON under AES-256-GCM (NIST SP 800-38D). Subject, key and the place in the payload
are authenticated with it, so a text that is moved to another field or subject is damage, never another person's value. The
JSON is padded to multiples of 32 bytes: what is left after forgetting does not reveal the length either.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from replicator.domain.canonical import encode_json, netstrings
from replicator.domain.errors import DamagedEvent, InvalidEvent, InvalidName
from replicator.domain.names import check_region, check_segment
from replicator.domain.protected import MARKER, Path
from replicator.erasure.forgotten import check_subject
from replicator.runtime.distribution import needed

KEY_BYTES = 32
NONCE_BYTES = 12
_TAG_BYTES = 16
_MAX_KEY_ID_BYTES = 64
_ENCODING = b"meridian.personal.1"
_PAD = 32


@dataclass(frozen=True, slots=True)
class Envelope:
    """Personal value as it is stored. `read` raises DamagedEvent for anything `json` cannot have produced."""

    subject: str
    key: str
    text: str

    def json(self) -> dict[str, Any]:
        """Return the JSON object that stands in the payload in the value's place."""
        return {MARKER: {"subject": self.subject, "key": self.key, "text": self.text}}

    @classmethod
    def read(cls, value: Mapping[str, Any], path: Path) -> Envelope:
        """Parse the envelope in an object that has the marker."""
        inner = value[MARKER]
        if len(value) == 1 and isinstance(inner, dict) and inner.keys() == {"subject", "key", "text"}:
            found = [inner[name] for name in ("subject", "key", "text")]
            try:
                if all(isinstance(each, str) for each in found) and check_subject(found[0]) and home_of(found[1]):
                    return cls(*found)
            except InvalidName:
                pass
        raise DamagedEvent(f"personal field {shown_path(path)} is not as Meridian writes it; see docs/decisions/0014")


def home_of(key_id: str) -> str:
    """Return the region that made a key: its id begins with it. Raises InvalidName."""
    return check_region(check_segment("key", key_id, _MAX_KEY_ID_BYTES).partition(".")[0])


def shown_path(path: Path) -> str:
    return ".".join(path)


def aes(key: bytes) -> Any:
    """Return AES-256-GCM under `key`. Raises InvalidConfig when the library is missing."""
    with needed("personal data needs cryptography", "erasure"):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # here alone: most installations never need it
    return AESGCM(key)


def close(value: Any, subject: str, key_id: str, key: bytes, path: Path, nonce: bytes) -> Envelope:
    """Encrypt any JSON value. `nonce` is 12 random bytes, never used twice with one key.

    Raises InvalidEvent for what JSON cannot hold, with the path and never the value.
    """
    try:
        plain = encode_json({"": value})[4:-1].encode()
    except InvalidEvent:
        raise InvalidEvent(
            f"personal field {shown_path(path)} holds a value that is not JSON; use str, finite float, int up to 2^53 - 1, "
            "bool, None, list or dict"
        ) from None
    padded = plain.ljust(-(-len(plain) // _PAD) * _PAD)
    sealed = nonce + aes(key).encrypt(nonce, padded, _context(subject, key_id, path))
    return Envelope(subject, key_id, urlsafe_b64encode(sealed).decode())


def open_(envelope: Envelope, key: bytes, path: Path) -> Any:
    """Decrypt. Raises DamagedEvent with the path when anything was altered, cut or moved from where it was written."""
    from cryptography.exceptions import InvalidTag

    cipher = aes(key)
    try:
        sealed = urlsafe_b64decode(envelope.text.encode("ascii"))
        if len(sealed) < NONCE_BYTES + _TAG_BYTES:
            raise ValueError
        context = _context(envelope.subject, envelope.key, path)
        return json.loads(cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context))
    except (InvalidTag, ValueError, RecursionError):  # their texts may quote the plain text
        raise DamagedEvent(
            f"personal field {shown_path(path)} of subject {envelope.subject} does not decrypt under key {envelope.key}: "
            "it was altered, cut or moved there from another field or subject. Compare it with another region's copy"
        ) from None


def _context(subject: str, key_id: str, path: Path) -> bytes:
    return netstrings(_ENCODING, subject.encode(), key_id.encode(), *(part.encode() for part in path))
