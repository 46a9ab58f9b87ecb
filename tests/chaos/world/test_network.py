"""The links do what they are told: pass, swallow, swallow answers, slow down, reset, also to connections that exist."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chaos.world.network import HALF_OPEN, HOLE, MUTE, PASS, RESET, Mode, Network
from replicator import InvalidConfig
from tests import processes
from tests.processes import HANGING_SECONDS, still_alive, wait_until

A, B, C = "us-east-1", "eu-west-1", "ap-southeast-2"


class _Server:
    """An HTTP server that answers with what it was sent, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard.append(body)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None: ...

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def hears(self, body: bytes) -> None:
        """Wait for it."""
        wait_until(lambda: body in self.heard, f"{body!r} is heard")


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, _Server]]:
    found = {region: _Server() for region in (A, B, C)}
    yield found
    for server in found.values():
        server.close()


@pytest.fixture(scope="module")
def started(servers: dict[str, _Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    network = Network({region: server.port for region, server in servers.items()}, tmp_path_factory.mktemp("n") / "log")
    network.start()
    yield network
    network.stop()


@pytest.fixture
def network(started: Network) -> Iterator[Network]:
    yield started
    started.set(PASS)


def _client(network: Network, source: str, target: str, timeout: float = HANGING_SECONDS) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(network.endpoint(source, target).removeprefix("http://"), timeout=timeout)


def _silent(client: http.client.HTTPConnection, body: bytes = b"hello") -> None:
    """It gets no answer, and does not wait long for none."""
    client.timeout = 0.4
    if client.sock is not None:
        client.sock.settimeout(0.4)
    with pytest.raises(TimeoutError):
        _ask(client, body)


def _ask(client: http.client.HTTPConnection, body: bytes = b"hello") -> bytes:
    client.request("POST", "/", body)
    return client.getresponse().read()


def test_a_link_passes_everything_and_keeps_connections(network: Network) -> None:
    assert len(network.links) == 6
    client = _client(network, A, B)
    big = os.urandom(1_000_000)
    assert [_ask(client), _ask(client, big)] == [b"hello", big]


def test_a_cut_link_accepts_and_answers_nothing_and_delivers_late(network: Network, servers: dict[str, _Server]) -> None:
    old = _client(network, A, B)
    assert _ask(old, b"before") == b"before"
    network.set(HOLE, [f"{A}>{B}"])
    new = _client(network, A, B)
    for client, body in ((old, b"old connection"), (new, b"new connection")):
        _silent(client, body)
        assert body not in servers[B].heard
    assert _ask(_client(network, B, A)) == b"hello"  # the other direction is another link
    assert _ask(_client(network, A, C)) == b"hello"
    network.set(PASS, [f"{A}>{B}"])
    servers[B].hears(b"old connection")  # as TCP does: what was lost is sent again
    servers[B].hears(b"new connection")
    assert _ask(_client(network, A, B)) == b"hello"


def test_a_mute_link_carries_requests_and_no_answers(network: Network, servers: dict[str, _Server]) -> None:
    client = _client(network, A, B)
    assert _ask(client) == b"hello"
    network.set(MUTE, [link for link in network.links if link.startswith(f"{A}>")])
    _silent(client, b"took effect")
    servers[B].hears(b"took effect")


def test_a_slow_link_takes_its_latency_both_ways_and_shares_its_bandwidth(network: Network) -> None:
    client = _client(network, A, B)
    _ask(client)
    network.set(Mode(latency=0.15))
    assert min(_times(client, 3)) >= 0.3
    network.set(Mode(bandwidth=200_000))
    assert min(_times(client, 2, bytes(50_000))) >= 0.45  # 0.25 s there and 0.25 s back
    assert network.set(PASS)[f"{A}>{B}"]
    assert _ask(client, bytes(50_000)) == bytes(50_000)
    assert network.set(PASS)[f"{A}>{B}"] == {}


def test_a_reset_link_resets_what_is_open_and_what_comes(network: Network) -> None:
    old = _client(network, A, B)
    _ask(old)
    network.set(RESET, [link for link in network.links if link.endswith(f">{B}")])
    for client in (old, _client(network, A, B), _client(network, C, B)):
        with pytest.raises(ConnectionError):
            _ask(client)
    assert _ask(_client(network, B, A)) == b"hello"
    network.set(PASS)
    assert _ask(_client(network, A, B)) == b"hello"


def _times(client: http.client.HTTPConnection, count: int, body: bytes = b"hello") -> list[float]:
    found = []
    for _ in range(count):
        began = time.monotonic()
        assert _ask(client, body) == body
        found.append(time.monotonic() - began)
    return found


def test_a_half_open_link_kills_what_is_open_without_a_word_and_lets_new_connections_pass(
    network: Network, servers: dict[str, _Server]
) -> None:
    old = _client(network, A, B)
    assert _ask(old) == b"hello"
    network.set(HALF_OPEN, [f"{A}>{B}"])
    _silent(old, b"into a dead connection")  # no reset, no end
    assert _ask(_client(network, A, B)) == b"hello"
    network.set(PASS)
    time.sleep(0.2)
    assert b"into a dead connection" not in servers[B].heard  # it is never delivered, unlike what a hole held back
    assert _ask(_client(network, A, B)) == b"hello"


def test_jitter_makes_answers_early_and_late_and_keeps_their_bytes_in_order(network: Network) -> None:
    client = _client(network, A, B)
    _ask(client)
    network.set(Mode(latency=0.03, jitter=0.03))
    took = _times(client, 15)
    assert max(took) - min(took) > 0.01
    assert sum(took) / len(took) > 0.02
    big = os.urandom(400_000)
    assert _ask(client, big) == big


def test_a_lossy_link_delays_a_share_of_what_is_sent_in_one_direction_by_resending(network: Network) -> None:
    client = _client(network, A, B)
    _ask(client)
    network.set(Mode(loss=0.2), [f"{A}>{B}"], "back")
    took = _times(client, 12)
    other = _client(network, B, A)
    _ask(other)
    did = network.set(PASS)
    lost = did[f"{A}>{B}"]["pieces lost back"]
    assert lost > 0
    assert sum(took) >= 0.2 * lost  # each comes so late at least
    assert did[f"{A}>{B}"]["pieces lost there"] == 0
    assert did[f"{B}>{A}"] == {}  # the other link is whole
    _times(client, 5)
    assert network.set(PASS)[f"{A}>{B}"] == {}


def test_latency_can_be_one_way_and_different_each_way(network: Network, servers: dict[str, _Server]) -> None:
    client = _client(network, A, B)
    _ask(client)
    network.set(Mode(latency=0.15), [f"{A}>{B}"], "back")
    network.set(Mode(latency=0.05), [f"{A}>{B}"], "there")
    assert min(_times(client, 3)) >= 0.2
    did = network.set(PASS, [f"{A}>{B}"], "back")[f"{A}>{B}"]
    assert did["pieces delayed there"] >= 3
    assert did["pieces delayed back"] >= 3
    assert min(_times(client, 3)) >= 0.05
    did = network.set(PASS)[f"{A}>{B}"]
    assert did["pieces delayed there"] >= 3
    assert did["pieces delayed back"] == 0


def test_each_link_tells_what_it_has_done_since_it_was_told_the_last_time(network: Network) -> None:
    link, other = f"{A}>{B}", f"{B}>{A}"
    old = _client(network, A, B)
    _ask(old)
    network.set(HOLE, [link])
    for client in (old, _client(network, A, B)):
        _silent(client)
    _ask(_client(network, B, A))
    did = network.set(PASS)
    assert did[other] == {}
    assert did[link]["connections held"] == 1
    assert did[link]["bytes held"] > 0
    network.set(MUTE, [other])
    _silent(_client(network, B, A))
    assert network.set(RESET, [other])[other]["bytes held"] > 0
    with pytest.raises(ConnectionError):
        _ask(_client(network, B, A))
    did = network.set(PASS, [other])
    assert did[other]["connections refused"] == 1
    assert did[other]["connections reset"] >= 1
    client = _client(network, C, A)
    _ask(client)
    network.set(HALF_OPEN, [f"{C}>{A}"])
    assert network.set(PASS, [f"{C}>{A}"]) == {f"{C}>{A}": {"connections killed": 1}}
    network.set(Mode(latency=0.01), [f"{C}>{A}"], "there")
    _ask(_client(network, C, A))
    assert network.set(PASS, [f"{C}>{A}"])[f"{C}>{A}"].keys() == {"pieces delayed there"}
    network.set(HOLE, [link])
    assert network.set(PASS, [link]) == {link: {}}  # nothing met it


def test_a_server_that_is_down_resets_and_can_come_back_on_its_port(tmp_path: Path) -> None:
    server = _Server()
    network = Network({A: server.port, B: server.port}, tmp_path / "log")
    network.start()
    try:
        assert _ask(_client(network, A, B)) == b"hello"
        server.close()
        with pytest.raises(ConnectionError):
            _ask(_client(network, A, B))
    finally:
        network.stop()


def test_orders_that_make_no_sense_are_refused(network: Network) -> None:
    with pytest.raises(InvalidConfig, match="'mars>venus'; choose from us-east-1>eu-west-1"):
        network.set(HOLE, ["mars>venus"])
    with pytest.raises(InvalidConfig, match="'stop'; choose from pass, hole, mute, reset, half-open"):
        Mode("stop")
    with pytest.raises(InvalidConfig, match="latency -1 s"):
        Mode(latency=-1)
    with pytest.raises(InvalidConfig, match="jitter nan s"):
        Mode(jitter=float("nan"))
    with pytest.raises(InvalidConfig, match="loss 1 is wrong"):
        Mode(loss=1)
    with pytest.raises(InvalidConfig, match="'up'; choose from both, there, back"):
        network.set(PASS, None, "up")


def test_the_links_end_with_whoever_started_them(servers: dict[str, _Server], tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from chaos.world.network import Network\n"
        f"n = Network({{'{A}': 1, '{B}': 2}}, Path({str(tmp_path / 'log')!r})); n.start()\n"
        "print(n.process.pid, flush=True); time.sleep(3600)"
    )
    with processes.started([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        child = int(next(parent.lines()))
        parent.send(signal.SIGKILL)
        parent.wait()
        assert not still_alive([child])
