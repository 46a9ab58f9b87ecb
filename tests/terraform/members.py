"""Projections that commands build, compare and drop: one with personal data in two versions, and one with rows."""

from __future__ import annotations

from projectors import Projection, counter, register


class Member(Projection):
    name, stream_type = "member", "member"
    called = register(joined=lambda p: p["name"], renamed=lambda p: p["name"])
    visits = counter(visited=lambda p: 1)


class Member2(Member):
    version = 2
    stays = counter(visited=lambda p: p.get("days", 1))


class Towns(Projection):
    name, stream_type = "towns", "member"
    rows = {"visited": lambda p: [p["town"]]}  # noqa: RUF012
    visits = counter(visited=lambda p: 1)


ALL = tuple(f"tests.terraform.members:{name}" for name in ("Member", "Member2", "Towns"))
