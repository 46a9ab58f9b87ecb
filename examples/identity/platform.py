"""Operations of the platform, as one region's servers carry them out. Each is one transaction, with its precondition as a
value."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from examples.identity.model import SCHEMAS, Group, User
from projectors import Query, Sink, Snapshot
from replicator import (
    Accept,
    ConsistencyToken,
    EventStore,
    IfEmpty,
    NewEvent,
    Operation,
    Reject,
    Result,
    Saved,
    StreamId,
    When,
    signed,
)
from replicator.claims import Claim, HomedClaims, Release
from replicator.erasure import PersonalData


class Identity:
    """Identity platform in one region. `pepper` keeps e-mail addresses out of stream names, which can never be erased."""

    def __init__(
        self,
        store: EventStore,
        claims: HomedClaims,
        personal: PersonalData,
        sink: Sink | None = None,
        pepper: bytes = b"springfield",
    ) -> None:
        self.store = store
        self.claims = claims
        self.personal = personal
        self._pepper = pepper
        self.users = Query(User, store, sink, reveal=personal.reveal, keep_after=50)
        self.groups = Query(Group, store, sink, reveal=personal.reveal, keep_after=50)

    def register(self, user: str, name: str, email: str, who: str) -> Result:
        """Register a new person: claim the address and write the person in one transaction, in the claim's home region."""
        stream = StreamId("user", user)
        events = [
            SCHEMAS.new("user_registered", {}),
            self._personal_event(stream, "name_set", {"value": name}),
            self._personal_event(stream, "email_set", {"value": email}),
        ]
        return self.claims.save(
            [Claim(self.email_claim(email), stream)], Operation(stream, [signed(e, who=who) for e in events], IfEmpty())
        )

    def create_group(self, group: str, title: str, who: str) -> Result:
        created = signed(SCHEMAS.new("group_created", {"title": title}), who=who)
        return self.store.save(Operation(StreamId("group", group), created, IfEmpty()))

    def add_member(self, group: str, user: str, seen: ConsistencyToken | str | None, who: str) -> Result:
        """Add to both streams in one transaction. `seen` is what the caller has seen of both: missing events are pulled."""

        def a_person(value: dict[str, Any]) -> Accept | Reject:
            if value["email"] is None or value["closed"]:
                return Reject(f"{user} is no user, as far as {self.store.region} knows")
            return Accept()

        def a_group(value: dict[str, Any]) -> Accept | Reject:
            if value["title"] is None:
                return Reject(f"{group} is no group, as far as {self.store.region} knows")
            return Reject(f"{user} is a member already") if user in value["members"] else Accept()

        joined = signed(SCHEMAS.new("joined", {"group": group}), who=who)
        added = signed(SCHEMAS.new("member_added", {"user": user}), who=who)
        return self.store.save(
            Operation(StreamId("user", user), joined, When(self.users, a_person), after=seen),
            Operation(StreamId("group", group), added, When(self.groups, a_group), after=seen),
        )

    def change_email(self, user: str, email: str, who: str) -> Result:
        """Claim the new address first, then release the old one: in between the person owns both, never none.

        Two spellings of one address are one claim: then there is nothing to release.
        """
        stream = StreamId("user", user)
        old = self.users.now(stream).value["email"]
        changed = signed(self._personal_event(stream, "email_set", {"value": email}), who=who)
        claim = self.email_claim(email)
        result = self.claims.save([Claim(claim, stream)], Operation(stream, changed))
        if isinstance(result, Saved) and old is not None and self.email_claim(old) != claim:
            self.claims.save([Release(self.email_claim(old), stream)])
        return result

    def user(self, user: str, at_least: ConsistencyToken | str | None = None) -> Snapshot:
        return self.users.now(StreamId("user", user), at_least)

    def group(self, group: str, at_least: ConsistencyToken | str | None = None) -> Snapshot:
        return self.groups.now(StreamId("group", group), at_least)

    def email_claim(self, email: str) -> StreamId:
        """Return the claim's stream: a keyed hash of the address, as a stream's name cannot be erased."""
        return StreamId("email", hmac.new(self._pepper, email.strip().lower().encode(), hashlib.sha256).hexdigest()[:32])

    def _personal_event(self, stream: StreamId, kind: str, payload: dict[str, Any]) -> NewEvent:
        return SCHEMAS.new(kind, self.personal.protect(str(stream), payload, ["value"]))
