"""Key wrapping by AWS KMS (envelope encryption). The subject is the encryption context, so KMS refuses a key moved to
another subject.

The KMS key is a multi-region key: one id and one material in every region, each with its own policy and lifecycle.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from replicator.aws import clients
from replicator.domain.errors import DamagedEvent, InvalidConfig, RegionRefuses
from replicator.runtime.settings import Settings

T = TypeVar("T")


class KmsWrapping:
    """Wraps data keys with the KMS key `settings.personal_key` (id, ARN or alias) of the settings' own region."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = settings.personal_key
        self._client = clients.kms(settings, settings.region)

    def __repr__(self) -> str:
        return f"KmsWrapping({self._key!r})"

    def generate(self, subject: str) -> tuple[bytes, bytes]:
        made = self._call(
            partial(
                self._client.generate_data_key, KeyId=self._key, KeySpec="AES_256", EncryptionContext={"subject": subject}
            ),
            subject,
        )
        return made["Plaintext"], made["CiphertextBlob"]

    def unwrap(self, subject: str, wrapped: bytes) -> bytes:
        # The key is named, so that no other one is ever used, whatever the stored bytes contain.
        answer = self._call(
            partial(self._client.decrypt, KeyId=self._key, CiphertextBlob=wrapped, EncryptionContext={"subject": subject}),
            subject,
        )
        return answer["Plaintext"]

    def _call(self, operation: Callable[[], T], subject: str) -> T:
        region = self._settings.region
        try:
            return clients.call(self._settings, region, operation)
        except RegionRefuses as error:
            if error.code == "InvalidCiphertextException":
                raise DamagedEvent(
                    f"a stored key of {subject} is damaged or belongs to another subject (KMS of {region})"
                ) from None
            raise InvalidConfig(
                f"KMS of {region} refuses {error.operation} with key {self._key!r}: {error.code}. Set "
                "MERIDIAN_PERSONAL_KEY to a multi-region key that is enabled here, and allow this role to use it"
            ) from None
