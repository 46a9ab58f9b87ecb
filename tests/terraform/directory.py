"""External events of the members: that somebody visited is public, how members are called is not."""

from replicator.external import External, publish


class Directory(External):
    source = "https://example.com/members"
    visited = publish("member/visited", to="com.example.member.visited", enrich={"member": lambda e: e.lane.stream.id})
