"""Consistency tokens as one region accepts them: tokens of its own system that name regions it knows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from replicator.domain.errors import InvalidToken
from replicator.domain.token import ConsistencyToken, TokenCodec


class Tokens:
    """Decodes and joins the tokens that a region receives."""

    def __init__(self, codec: TokenCodec, region: str, regions: Sequence[str]) -> None:
        self._codec = codec
        self._region = region
        self._regions = tuple(regions)

    def read(self, given: ConsistencyToken | str) -> ConsistencyToken:
        """Decode a token. Raises InvalidToken, also for one that names a region unknown here."""
        token = self._codec.decode(given) if isinstance(given, str) else given
        strange = {region for vector in token.vectors.values() for region, _ in vector.items()} - set(self._regions)
        if strange:
            raise InvalidToken(
                f"the token names {', '.join(sorted(strange))}, which is not a region of this system as {self._region} "
                f"knows it ({', '.join(self._regions)}); add it to the peers, or read without the token"
            )
        return token

    def join(self, *given: ConsistencyToken | str | None) -> ConsistencyToken:
        """Return the least token that covers all of these; None counts as empty. Raises InvalidToken."""
        return reduce(ConsistencyToken.join, (self.read(each) for each in given if each is not None), ConsistencyToken())
