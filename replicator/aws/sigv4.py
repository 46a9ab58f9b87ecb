"""botocore's Signature Version 4, with what is the same for many requests, or twice in one, made once."""

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
        """As botocore selects them, which it does twice."""
        if self._headers is None:
            self._headers = super().headers_to_sign(request)
        return self._headers

    def signature(self, string_to_sign: str, request: Any) -> str:
        """By the key of the day, which four digests of the secret make."""
        key = _key_of_day(self.credentials.secret_key, request.context["timestamp"][:8], self._region)
        return hmac.new(key, string_to_sign.encode(), sha256).hexdigest()


@lru_cache(maxsize=32)
def _key_of_day(secret: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, SERVICE, "aws4_request"):
        key = hmac.new(key, part.encode(), sha256).digest()
    return key
