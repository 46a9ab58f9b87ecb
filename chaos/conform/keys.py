"""Probes of KMS: keys that wrap the keys of personal data."""

from __future__ import annotations

from typing import Any

from chaos.conform.lab import Lab, outcome
from chaos.conform.probe import Area, harmless, unsafe
from chaos.conform.promises import FORGET

AREA = Area("KMS", ("kms",))

_API = "https://docs.aws.amazon.com/kms/latest/APIReference/"
_GUIDE = "https://docs.aws.amazon.com/kms/latest/developerguide/"
_GENERATE = f"{_API}API_GenerateDataKey.html"
_DECRYPT = f"{_API}API_Decrypt.html"
_CONTEXT = f"{_GUIDE}encrypt_context.html"
_MULTI = f"{_GUIDE}multi-region-keys-overview.html"
_STATES = f"{_GUIDE}key-state.html"
_HOMER = {"subject": "user/homer"}


def _key(lab: Lab, **more: Any) -> str:
    kms = lab.client("kms")
    key = str(kms.create_key(Description=lab.name(), **more)["KeyMetadata"]["KeyId"])
    lab.later(f"key {key}", lambda: _schedule(lab, key))
    return key


def _schedule(lab: Lab, key: str) -> None:
    outcome(lambda: lab.client("kms").schedule_key_deletion(KeyId=key, PendingWindowInDays=7))


def _shared(lab: Lab) -> str:
    return lab.shared("key", lambda: _key(lab, MultiRegion=True))


def _made(lab: Lab, key: str) -> dict[str, Any]:
    made: dict[str, Any] = lab.client("kms").generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=_HOMER)
    return made


def _opened(lab: Lab, key: str, wrapped: bytes, context: dict[str, str]) -> str:
    return outcome(lambda: lab.client("kms").decrypt(KeyId=key, CiphertextBlob=wrapped, EncryptionContext=context))


@AREA.ask("How long is a data key for AES-256?", "32 bytes", _GENERATE, FORGET)
def key_length(lab: Lab) -> str:
    return f"{len(_made(lab, _shared(lab))['Plaintext'])} bytes"


@AREA.ask("Does decryption return the data key?", "the same", _DECRYPT, FORGET)
def key_opened(lab: Lab) -> str:
    made = _made(lab, _shared(lab))
    request = {"KeyId": _shared(lab), "CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": _HOMER}
    return "the same" if lab.client("kms").decrypt(**request)["Plaintext"] == made["Plaintext"] else "another"


@AREA.ask("Are two data keys different?", "different", _GENERATE, FORGET)
def key_fresh(lab: Lab) -> str:
    one, two = (_made(lab, _shared(lab))["Plaintext"] for _ in range(2))
    return "different" if one != two else "the same"


@AREA.ask(
    "Is another encryption context refused?",
    "InvalidCiphertextException",
    _CONTEXT,
    FORGET,
    unsafe("accepted", "a key that was moved to another subject opens there"),
)
def key_other_context(lab: Lab) -> str:
    return _opened(lab, _shared(lab), _made(lab, _shared(lab))["CiphertextBlob"], {"subject": "user/marge"})


@AREA.ask(
    "Is a missing encryption context refused?",
    "InvalidCiphertextException",
    _CONTEXT,
    FORGET,
    unsafe("accepted", "a key opens without its subject"),
)
def key_without_context(lab: Lab) -> str:
    return _opened(lab, _shared(lab), _made(lab, _shared(lab))["CiphertextBlob"], {})


@AREA.ask("How begins the id of a multi-Region key?", "mrk-", _MULTI, FORGET)
def key_multi_region(lab: Lab) -> str:
    return "mrk-" if _shared(lab).startswith("mrk-") else "otherwise"


@AREA.ask(
    "What refuses a disabled key?",
    "DisabledException",
    _STATES,
    FORGET,
    harmless("KMSInvalidStateException", "refused all the same"),
)
def key_disabled(lab: Lab) -> str:
    key = _key(lab)
    lab.client("kms").disable_key(KeyId=key)
    return outcome(lambda: _made(lab, key))


@AREA.ask(
    "What refuses a key that is to be deleted?",
    "KMSInvalidStateException",
    _STATES,
    FORGET,
    harmless("DisabledException", "refused all the same"),
)
def key_deleted(lab: Lab) -> str:
    key = _key(lab)
    blob = _made(lab, key)["CiphertextBlob"]
    _schedule(lab, key)
    return _opened(lab, key, blob, _HOMER)


@AREA.ask("What answers a key that is not there?", "NotFoundException", _GENERATE, FORGET)
def key_absent(lab: Lab) -> str:
    return outcome(lambda: _made(lab, "00000000-0000-4000-8000-000000000000"))


@AREA.ask("Does a multi-Region key open data keys in another region?", "the same", _MULTI, FORGET)
def key_replica(lab: Lab) -> str:
    key, other = _shared(lab), "eu-west-1" if lab.region != "eu-west-1" else "us-east-1"
    made = _made(lab, key)
    lab.client("kms").replicate_key(KeyId=key, ReplicaRegion=other)
    kms: Any = lab.elsewhere("kms", other)
    lab.later(f"replica {key}", lambda: outcome(lambda: kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)))
    lab.until(lambda: kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled")
    opened = kms.decrypt(KeyId=key, CiphertextBlob=made["CiphertextBlob"], EncryptionContext=_HOMER)
    return "the same" if opened["Plaintext"] == made["Plaintext"] else "another"
