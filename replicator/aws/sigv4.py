"""Signature Version 4 of botocore, with cached parts: those shared by many requests, or needed twice in one."""

from __future__ import annotations

import hmac
from functools import lru_cache
from hashlib import sha256
from typing import Any

from botocore.auth import SigV4Auth

SERVICE = "dynamodb"


class Signer(SigV4Auth):
    """Signs one request to DynamoDB."""

    _headers: Any = None

    def __init__(self, credentials: Any, region: str) -> None:
        super().__init__(credentials, SERVICE, region)
        self._region = region

    def headers_to_sign(self, request: Any) -> Any:
        """Return the headers that botocore selects; it asks for them twice."""
        if self._headers is None:
            self._headers = super().headers_to_sign(request)
        return self._headers

    def signature(self, string_to_sign: str, request: Any) -> str:
        """Sign by the key of the day, which takes four digests of the secret to derive."""
        key = _key_of_day(self.credentials.secret_key, request.context["timestamp"][:8], self._region)
        return hmac.new(key, string_to_sign.encode(), sha256).hexdigest()


@lru_cache(maxsize=32)
def _key_of_day(secret: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, SERVICE, "aws4_request"):
        key = hmac.new(key, part.encode(), sha256).digest()
    return key
