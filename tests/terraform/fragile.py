"""A projection with a mistake in it: it does not know that a member may have no name."""

from projectors import Projection, counter, register


class Member(Projection):
    name, stream_type = "member", "member"
    called = register(joined=lambda p: p["name"])
    visits = counter(visited=lambda p: 1)
