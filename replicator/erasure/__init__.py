"""Erasure by crypto-shredding: personal fields are encrypted with a key per subject; forgetting a subject destroys its keys
in every region."""

from replicator.domain.protected import MARKER, Protected, holds_personal, may_hold_personal
from replicator.erasure.envelope import Envelope
from replicator.erasure.forgetting import Forgetting, forget
from replicator.erasure.forgotten import FORGOTTEN, KeyUnavailable, SubjectForgotten, forgotten_subject
from replicator.erasure.keys import KeyStorage, MemoryKeys, SubjectKeys
from replicator.erasure.payload import FieldForgotten, Revealed
from replicator.erasure.personal import PersonalData
from replicator.erasure.wrapping import LocalWrapping, Wrapping

__all__ = [
    "FORGOTTEN",
    "MARKER",
    "Envelope",
    "FieldForgotten",
    "Forgetting",
    "KeyStorage",
    "KeyUnavailable",
    "LocalWrapping",
    "MemoryKeys",
    "PersonalData",
    "Protected",
    "Revealed",
    "SubjectForgotten",
    "SubjectKeys",
    "Wrapping",
    "forget",
    "forgotten_subject",
    "holds_personal",
    "may_hold_personal",
]
