"""Consistency tokens as one region takes them: those of its own system, which name regions that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from replicator.domain.errors import InvalidToken
from replicator.domain.token import ConsistencyToken, TokenCodec


class Tokens:
    """Reads the tokens that a region is given."""

    def __init__(self, codec: TokenCodec, region: str, regions: Sequence[str]) -> None:
        self._codec = codec
        self._region = region
        self._regions = tuple(regions)

    def read(self, given: ConsistencyToken | str) -> ConsistencyToken:
        """The token that a text is. Raises InvalidToken, also for one that names a region unknown here."""
        token = self._codec.decode(given) if isinstance(given, str) else given
        strange = {region for vector in token.vectors.values() for region, _ in vector.items()} - set(self._regions)
        if strange:
            raise InvalidToken(
                f"the token names {', '.join(sorted(strange))}, which is no region of this system as {self._region} knows "
                f"it ({', '.join(self._regions)}); add it to the peers, or read anew"
            )
        return token

    def join(self, *given: ConsistencyToken | str | None) -> ConsistencyToken:
        """The least token that names everything that these do, None being none. Raises InvalidToken."""
        return reduce(ConsistencyToken.join, (self.read(each) for each in given if each is not None), ConsistencyToken())
