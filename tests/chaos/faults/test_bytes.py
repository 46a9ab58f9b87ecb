"""What passes the proxy is byte for byte what was sent, in both directions; what cannot pass is answered in kind."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chaos.child_processes import ProcessFailed, free_ports
from chaos.faults.control import ServiceProxy
from replicator.aws import clients
from tests.processes import HANGING_SECONDS

EAST, WEST = "us-east-1", "eu-west-1"
HEAD = b"POST /x?y=%2F HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Some.Thing\r\nx-ODD-case:  two  spaces \r\n"


class _Server:
    """Says what it is told to, whatever it hears, and keeps what it heard."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.heard = b""
        self.says = b""
        self.end = b"!"
        """What it hears last before it answers."""
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1 << 20):
                self.heard += data
                if self.heard.endswith(self.end):
                    connection.sendall(self.says)
                    if b"Content-Length" not in self.says and b"chunked" not in self.says and b" 204 " not in self.says:
                        return


@pytest.fixture
def server() -> Iterator[_Server]:
    found = _Server()
    yield found
    found.socket.close()


@pytest.fixture
def proxy(server: _Server, tmp_path: Path) -> Iterator[ServiceProxy]:
    (nobody,) = free_ports(1)
    found = ServiceProxy({EAST: server.port, WEST: nobody}, tmp_path / "log")
    found.start()
    yield found
    found.stop()


def _say(port: int, *parts: bytes, until: bytes) -> bytes:
    """Send the parts and return what comes back, up to `until`, or to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=HANGING_SECONDS) as connection:
        heard = b""
        for part in parts:
            connection.sendall(part)
        while not (until and heard.endswith(until)) and (data := connection.recv(1 << 20)):
            heard += data
        return heard


ANSWERS = {
    "counted": b"HTTP/1.1 200 OK\r\nServer: odd\r\nX-Amz-Crc32: 7\r\nContent-Length: 5\r\n\r\nab\r\n!",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
    "to the end": b"HTTP/1.1 500 Odd Words Here\r\nX: y\r\n\r\nuntil the end",
    "none": b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    "big": b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"z" * 2_000_000,
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_answer_and_request_passes_unchanged(kind: str, server: _Server, proxy: ServiceProxy) -> None:
    server.says = ANSWERS[kind]
    request = HEAD + b"Content-Length: 4\r\n\r\n\r\n\x00!"
    assert _say(proxy.port(EAST), request[:30], request[30:], until=server.says) == server.says
    assert server.heard == request


def test_a_chunked_request_passes_unchanged(server: _Server, proxy: ServiceProxy) -> None:
    server.says, server.end = ANSWERS["counted"], b"0\r\nTrailer: x\r\n\r\n"
    request = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;ext\r\n\r\n\r\n1\r\n!\r\n" + server.end
    assert _say(proxy.port(EAST), request[:100], request[100:], until=server.says) == server.says
    assert server.heard == request


def test_a_client_that_asks_to_continue_is_told_to_and_gets_one_final_answer(server: _Server, proxy: ServiceProxy) -> None:
    server.says = b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWERS["counted"]
    with socket.create_connection(("127.0.0.1", proxy.port(EAST)), timeout=HANGING_SECONDS) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"!")
        assert connection.recv(65_536) == ANSWERS["counted"]


def test_connections_are_kept_on_both_sides(server: _Server, proxy: ServiceProxy) -> None:
    server.says = ANSWERS["counted"]
    request = HEAD + b"Content-Length: 1\r\n\r\n!"
    with socket.create_connection(("127.0.0.1", proxy.port(EAST)), timeout=HANGING_SECONDS) as connection:
        for _ in range(5):
            connection.sendall(request)
            heard = b""
            while not heard.endswith(server.says):
                heard += connection.recv(65_536)
    assert server.connections == 1


def test_what_is_no_http_is_answered_400_and_a_length_that_lies_ends_with_its_sender(
    server: _Server, proxy: ServiceProxy
) -> None:
    assert _say(proxy.port(EAST), b"nonsense\r\n\r\n", until=b"").startswith(b"HTTP/1.1 400 ")
    assert _say(proxy.port(EAST), HEAD + b"Content-Length: -1\r\n\r\n", until=b"").startswith(b"HTTP/1.1 400 ")
    assert _say(proxy.port(EAST), HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", until=b"").startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", proxy.port(EAST))) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\nfew")
    assert server.heard == b""  # half a request is none


def test_a_service_that_hangs_up_without_an_answer_hangs_up_on_the_caller(server: _Server, proxy: ServiceProxy) -> None:
    server.says = b""
    assert _say(proxy.port(EAST), HEAD + b"Content-Length: 1\r\n\r\n!", until=b"") == b""


def _list(url: str) -> None:
    boto3.session.Session().client(
        "dynamodb",
        region_name=WEST,
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    ).list_tables()


def test_where_nothing_listens_callers_are_reset_or_told_so(tmp_path: Path, proxy: ServiceProxy) -> None:
    with pytest.raises(BotoCoreError):
        _list(proxy.endpoint(WEST))
    (nobody,) = free_ports(1)
    telling = ServiceProxy({WEST: nobody}, tmp_path / "telling", gone="502")
    telling.start()
    try:
        with pytest.raises(ClientError, match=f"no response from http://127.0.0.1:{nobody}") as caught:
            _list(telling.endpoint(WEST))
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 502
        assert clients.sort_error(caught.value) is not None
    finally:
        telling.stop()
    assert f"no response from http://127.0.0.1:{nobody}" in (tmp_path / "telling").read_text()


def test_a_taken_port_is_said_so(tmp_path: Path, server: _Server) -> None:
    taken = ServiceProxy({EAST: 1}, tmp_path / "log")
    held = socket.create_server(("127.0.0.1", taken.port(EAST)))
    try:
        with pytest.raises(ProcessFailed, match=f"cannot listen on port {taken.port(EAST)}"):
            taken.start()
    finally:
        taken.stop()
        held.close()
