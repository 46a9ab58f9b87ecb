"""Identity platform, step by step, in two regions on this machine: `make example-identity`.

Each region is an emulator, a replicator and a projector, each a process of its own. The first steps run while nothing is
copied between the regions, to show the effect of tokens. Every step checks its claims: a wrong one exits with 1.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from chaos.child_processes import Process
from chaos.world.world import World, WorldOptions, free_ports
from examples.identity.model import SCHEMAS
from examples.identity.platform import Identity
from projectors import DynamoSink, ViewKey
from replicator import (
    DynamoControl,
    DynamoStorage,
    MemoryControl,
    NewEvent,
    Operation,
    Rejected,
    Saved,
    Settings,
    audit,
    configure_logs,
    connect_consumer,
    connect_personal_data,
    connect_publish_worker,
    connect_store,
    create_streams,
)
from replicator.claims import HomedClaims, HomeMover
from replicator.external import ExternalEvent

EAST, WEST = "us-east-1", "eu-west-1"
PROJECTIONS = ["examples.identity.model:User", "examples.identity.model:Group"]
WAIT_SECONDS = 30.0
console = Console(highlight=False, soft_wrap=True)


class Wrong(Exception):
    """A step did not do what it says."""


def main() -> int:
    os.environ.setdefault("MERIDIAN_LOG", "error")
    configure_logs("error")
    with tempfile.TemporaryDirectory(prefix="identity-") as folder:
        # The workers are processes: they inherit the location of the key for personal data.
        os.environ["MERIDIAN_PERSONAL_KEY"] = f"file:{Path(folder) / 'personal.key'}"
        os.environ["MERIDIAN_EXTERNAL"] = "examples.identity.model:Directory"
        connect_personal_data(Settings(EAST, personal_key=os.environ["MERIDIAN_PERSONAL_KEY"]))  # makes the key file
        with World([EAST, WEST], PROJECTIONS, options=WorldOptions(services="dynamodb,dynamodbstreams,kinesis")) as world:
            try:
                Story(world).tell()
            except Wrong as error:
                console.print(f"[red]wrong:[/] {error}")
                return 1
    return 0


class Story:
    def __init__(self, world: World) -> None:
        self.world = world
        self.settings = {
            region: replace(
                world.settings(region),
                personal_key=os.environ["MERIDIAN_PERSONAL_KEY"],
                external=os.environ["MERIDIAN_EXTERNAL"],
            )
            for region in (EAST, WEST)
        }
        store = cache(lambda region: connect_store(self.settings[region]))
        control = cache(lambda region: DynamoControl(self.settings[region]))
        self.regions = {
            region: Identity(
                store(region),
                HomedClaims(region, control, store),
                connect_personal_data(settings),
                DynamoSink(settings),
            )
            for region, settings in self.settings.items()
        }
        self._step = 0

    def tell(self) -> None:
        east, west = self.regions[EAST], self.regions[WEST]
        create_streams(self.settings[EAST])
        controls = {region: DynamoControl(settings) for region, settings in self.settings.items()}
        storages = {region: DynamoStorage(settings) for region, settings in self.settings.items()}
        homes = HomeMover(controls, storages, frozenset({"email"})).move([EAST, WEST])
        say(f"e-mail addresses have homes: epoch {homes.epoch}, {', '.join(homes.regions)}")
        for region in self.world.regions.values():
            region.replicator.freeze()
        self.talk(east, west)
        for region in self.world.regions.values():
            region.replicator.thaw()
        self.uniqueness(east, west)
        self.past(west)
        self.versions(east, west)
        self.outside()
        self.web()
        self.erasure(east, west)

    def talk(self, east: Identity, west: Identity) -> None:
        """Save a user, save a group, add the user to the group with both tokens."""
        self.step("save a user", "the address is claimed and the person written in one transaction, only if both are new")
        user = saved(east.register("homer", "Homer Simpson", "homer@springfield.example", who="homer"))
        show("written in", ", ".join(sorted({event.region for event in user.events})))
        show("token", east.store.tokens.encode(user.token))

        self.step("save a group", f"in {WEST}, while nothing is copied between the regions")
        group = saved(west.create_group("bowling", "Pin Pals", who="apu"))
        show("token", west.store.tokens.encode(group.token))

        self.step("add the user to the group, without tokens", "the region knows nothing of what was written elsewhere")
        # The region that lacks one of them refuses.
        blind, knows = (west, WEST) if user.events[-1].region == EAST else (east, EAST)
        refused = blind.add_member("bowling", "homer", None, who="apu")
        check(isinstance(refused, Rejected), f"{knows} accepted somebody it cannot know: {refused}")
        show("rejected", "; ".join(refused.reasons) if isinstance(refused, Rejected) else "")

        self.step("add the user to the group, with both tokens", "what the tokens name is pulled; then it is decided")
        both = user.token.join(group.token)
        member = saved(blind.add_member("bowling", "homer", blind.store.tokens.encode(both), who="apu"))
        for event in member.events:
            show(event.type, f"{event.id}, having observed {event.observed}")
        self.member = member

    def uniqueness(self, east: Identity, west: Identity) -> None:
        self.step("a second person with the same address", "its home region says no, from wherever it is asked")
        for region, identity in ((EAST, east), (WEST, west)):
            refused = identity.register("impostor", "Guy Incognito", " Homer@Springfield.example", who="guy")
            check(isinstance(refused, Rejected), f"{region} gave the address away twice: {refused}")
        show("rejected", "; ".join(refused.reasons) if isinstance(refused, Rejected) else "")

        self.step("read in the other region", "with the token of the write: at least that, at once")
        snapshot = east.group("bowling", self.member.token)
        check(snapshot.value["members"] == ["homer"], f"the group has {snapshot.value}")
        show("group", json.dumps(snapshot.value))

    def past(self, west: Identity) -> None:
        self.step("change the address", "the new one is claimed, then the old one released")
        before = west.user("homer", self.member.token)
        result = saved(west.change_email("homer", "max@power.example", who="homer"))
        now = west.user("homer", result.token)
        check(now.value["email"] == "max@power.example", f"the address is {now.value['email']}")
        show("now", now.value["email"])
        then = west.users.at("user/homer", before.token)
        check(then.value["email"] == "homer@springfield.example", f"the address was {then.value['email']}")
        show("at the token before", then.value["email"])
        show("history", " → ".join(str(each.value["email"]) for each in west.users.history("user/homer", None)))
        trail = list(audit(west.store.state("user/homer", result.token)))
        show("audit", ", ".join(f"{entry.who}: {entry.type}" for entry in trail if entry.who))

    def versions(self, east: Identity, west: Identity) -> None:
        self.step("an event of years ago", "version 1 is read as version 2, and stays as it was written")
        old = saved(east.store.save(Operation("user/homer", NewEvent("locale_set", {"value": "en_US"}))))
        new = SCHEMAS.new("locale_set", {"language": "en", "country": "CA"})
        check(east.user("homer", old.token).value["country"] == "US", "version 1 was not understood")
        token = saved(west.store.save(Operation("user/homer", new, after=old.token))).token
        check(west.user("homer", token).value["country"] == "CA", "version 2 was not understood")
        show("country", "US, then CA")

    def outside(self) -> None:
        self.step("what other teams see", "declared external events from Kinesis, without names and addresses")
        seen: list[ExternalEvent] = []
        consumer = connect_consumer(self.settings[EAST], "newsletter", seen.append, MemoryControl())
        publisher = connect_publish_worker(self.settings[EAST])

        def arrived() -> bool:
            publisher.step()
            consumer.step()
            return bool(seen)

        wait(arrived, "an external event")
        show(seen[0].type, json.dumps(seen[0].data))
        check(dict(seen[0].data) == {"memberId": "homer", "groupId": "bowling"}, f"it says {seen[0].data}")

    def web(self) -> None:
        self.step("over HTTP", "a token is an ETag: If-Match writes only where nobody has written since")
        (port,) = free_ports(1)
        environment = {
            "MERIDIAN_REGION": WEST,
            "MERIDIAN_PEERS": EAST,
            "MERIDIAN_ENDPOINTS": ",".join(f"{r}={url}" for r, url in self.settings[WEST].endpoints.items()),
            "MERIDIAN_PROJECTIONS": ",".join(PROJECTIONS),
        }
        program = "from replicator.cli.entrypoints import projectors; projectors()"
        command = [sys.executable, "-c", program, "serve", "--port", str(port)]
        server = Process("API", command, environment, self.world.logs / "api.log")
        server.start()
        try:
            url = f"http://127.0.0.1:{port}"
            wait(lambda: _status(f"{url}/ready") == 200, "the API")
            path = f"{url}/streams/group/bowling"
            etag = _call(f"{path}/value")[1]["ETag"]
            body = {"events": [{"type": "member_added", "payload": {"user": "moe"}, "metadata": {"who": "moe"}}]}
            first, second = (_call(f"{path}/events", body, {"If-Match": etag})[0] for _ in range(2))
            check((first, second) == (201, 412), f"the API answered {first} and {second}")
            show("twice with one ETag", f"{first} Created, {second} Precondition Failed")
        finally:
            server.stop()

    def erasure(self, east: Identity, west: Identity) -> None:
        self.step("forget a person", "the keys are destroyed in every region; events and their chains stay")
        wait(lambda: self._views("homer") == {"max@power.example"}, "the views")
        forgotten = east.personal.forget(east.store, "user/homer")
        check(forgotten.complete, f"pending: {forgotten.pending}")
        show("keys destroyed in", ", ".join(forgotten.destroyed))
        wait(lambda: self._views("homer") == {None}, "the views to drop the address")
        for region, identity in self.regions.items():
            chains = sum(1 for home in (EAST, WEST) for _ in identity.store.read_lane("user/homer", home))
            show(f"view in {region}", f"{json.dumps(self._view(region, 'homer'))}; {chains} events verify")

    def _view(self, region: str, user: str) -> dict[str, Any] | None:
        key = ViewKey("user", f"user/{user}")
        view = DynamoSink(self.settings[region]).load([key]).get(key)
        return view.value if view is not None else None

    def _views(self, user: str) -> set[Any]:
        found = [self._view(region, user) for region in self.regions]
        return {value["email"] if value is not None else "no view" for value in found}

    def step(self, title: str, text: str) -> None:
        self._step += 1
        console.print(f"\n[bold]{self._step}. {title}[/] [dim]{text}[/]")


def say(text: str) -> None:
    console.print(text)


def show(what: str, text: str) -> None:
    console.print(f"   {what}: [cyan]{text}[/]")


def check(right: bool, otherwise: str) -> None:
    if not right:
        raise Wrong(otherwise)


def saved(result: Any) -> Saved:
    if not isinstance(result, Saved):
        raise Wrong(f"not saved: {result}")
    return result


def wait(until: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not until():
        if time.monotonic() > end:
            raise Wrong(f"{what} did not come within {WAIT_SECONDS:.0f} s")
        time.sleep(0.1)


def _call(url: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def _status(url: str) -> int:
    try:
        return _call(url)[0]
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
