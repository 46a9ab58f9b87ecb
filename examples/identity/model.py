"""Events and views of the platform: small set-style events, their versions, and how the views fold them."""

from __future__ import annotations

from typing import Any

from projectors import Projection, add, collection, counter, register, remove
from replicator import Schemas
from replicator.external import External, publish

SCHEMAS = Schemas()
for name, latest in {
    "user_registered": 1, "name_set": 1, "email_set": 1, "email_cleared": 1, "locale_set": 2, "user_closed": 1,
    "group_created": 1, "member_added": 1, "member_removed": 1, "joined": 1, "left": 1,
}.items():  # fmt: skip
    SCHEMAS.type(name, latest)


@SCHEMAS.upcaster("locale_set", 1)
def _locale_in_two_parts(payload: dict[str, Any]) -> dict[str, Any]:
    """Split the locale of version 1, `{"value": "en_US"}`; version 2 has the two parts separate."""
    language, _, country = payload["value"].partition("_")
    return {"language": language, "country": country}


SCHEMAS.check()


class User(Projection):
    """Data of a person. Name and e-mail are personal: they are gone once the person is forgotten."""

    name, stream_type, schemas = "user", "user", SCHEMAS
    full_name = register(name_set=lambda p: p["value"])
    email = register(email_set=lambda p: p["value"], email_cleared=lambda p: None)
    country = register(locale_set=lambda p: p["country"])
    groups = collection(joined=lambda p: add(p["group"]), left=lambda p: remove(p["group"]))
    closed = register(user_closed=lambda p: True)


class Group(Projection):
    """Group with its members, and the number of times that members were added."""

    name, stream_type, schemas = "group", "group", SCHEMAS
    title = register(group_created=lambda p: p["title"])
    members = collection(member_added=lambda p: add(p["user"]), member_removed=lambda p: remove(p["user"]))
    additions = counter(member_added=lambda p: 1)


class Directory(External):
    """Events for other teams: who joined what. No names, no addresses, and only fields that are named here."""

    source = "https://identity.example.com"
    joined = publish(
        "group/member_added", to="com.example.identity.member.joined", rename={"user": "memberId"},
        enrich={"groupId": lambda event: event.stream.id},
    )  # fmt: skip
    closed = publish("user/user_closed", to="com.example.identity.user.closed", keep=["reason"])
