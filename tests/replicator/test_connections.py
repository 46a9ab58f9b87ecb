"""Kept connections: several requests of one thread at once, each answered or told why not, in botocore's words."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from replicator.aws import clients
from replicator.aws.connections import Answer, Direct, Post, ThroughBotocore, _trusted
from replicator.aws.dynamodb_api import Wire
from replicator.runtime.settings import Settings
from tests.processes import wait_until
from tests.replicator.servers import serving as run

REGION = "us-east-1"


@dataclass
class Seen:
    """What a server has met."""

    bodies: list[bytes] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    together: int = 0
    """How many requests were in its hands at once, at most."""
    inside: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.seen.connections += 1

    def do_POST(self) -> None:
        seen = self.server.seen
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with seen.lock:
            seen.bodies.append(body)
            seen.targets.append(self.path)
            seen.inside += 1
            seen.together = max(seen.together, seen.inside)
        time.sleep(0.05)
        with seen.lock:
            seen.inside -= 1
        if body == b"slow":
            seen.over.wait()  # for as long as the test lasts
        if body == b"hang up":
            self.close_connection = True
            return
        if body == b"nonsense":
            self.wfile.write(b"no HTTP at all\r\n\r\n")
            self.close_connection = True
            return
        self.send_response(200 if body != b"refuse" else 400)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Odd-Name", "a value")
        if body == b"last":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        if body == b"silent end":  # closes without having said so
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with five, connections of many threads wait for seconds on a busy machine

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen = Seen()

    @property
    def port(self) -> int:
        return int(self.server_port)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.seen.closed += 1


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    with run(server):
        try:
            yield server
        finally:
            server.seen.over.set()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


def direct(port: int, scheme: str = "http", verify: str | None = None, seconds: float = 5.0) -> Direct:
    return Direct(f"{scheme}://127.0.0.1:{port}/", seconds, seconds, verify)


def post(connections: Direct | ThroughBotocore, *bodies: bytes, at_once: int = 4) -> list[Answer | BotoCoreError]:
    return list(connections.post([Post({"X-Amz-Target": "T"}, body) for body in bodies], at_once))


def test_answers_come_in_order_and_four_are_on_their_way_at_once(server: Server) -> None:
    bodies = [b"%d" % n for n in range(20)]
    answers = post(direct(server.port), *bodies)
    assert [answer.content for answer in answers if isinstance(answer, Answer)] == bodies
    assert (server.seen.together, server.seen.connections) == (4, 4), "four connections, used again and again"
    assert isinstance(answers[0], Answer)
    assert (answers[0].status, answers[0].headers["x-odd-name"]) == (200, "a value")


def test_one_after_the_other_where_no_more_are_asked_for(server: Server) -> None:
    post(direct(server.port), b"1", b"2", b"3", at_once=1)
    assert (server.seen.together, server.seen.connections) == (1, 1)


def test_large_requests_and_answers_do_not_wait_for_each_other(server: Server) -> None:
    large = b"x" * 4_000_000
    assert [len(a.content) for a in post(direct(server.port), *[large] * 6) if isinstance(a, Answer)] == [len(large)] * 6


def test_one_that_fails_leaves_the_others_theirs(server: Server) -> None:
    answers = post(direct(server.port), b"1", b"hang up", b"refuse", b"nonsense", b"5")
    assert [type(answer) for answer in answers] == [Answer, ConnectionClosedError, Answer, ConnectionClosedError, Answer]
    assert answers[2] == Answer(400, answers[2].headers, b"refuse")  # type: ignore[union-attr]
    for failed in (answers[1], answers[3]):
        assert (passing := clients.sort_error(failed)) is not None  # type: ignore[arg-type]
        assert passing.sent


@pytest.mark.parametrize("how", [b"last", b"silent end"])
def test_a_connection_that_the_other_side_closed_is_not_used_again(server: Server, how: bytes) -> None:
    connections = direct(server.port)
    for _ in range(3):
        assert [type(answer) for answer in post(connections, how)] == [Answer]
        wait_until(lambda made=_ + 1: server.seen.closed == made, "the other side's end")  # type: ignore[misc]
    assert server.seen.connections == 3


def test_nobody_there_is_nothing_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    (answer,) = post(direct(port), b"1")
    assert isinstance(answer, EndpointConnectionError)
    (answer,) = post(Direct("http://no-such-host.invalid/", 1.0, 1.0, None), b"1")
    assert isinstance(answer, EndpointConnectionError)
    assert (passing := clients.sort_error(answer)) is not None
    assert not passing.sent


def test_who_does_not_take_the_connection_is_waited_for_so_long_and_not_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any, **__: Any) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    (answer,) = post(direct(9), b"1")
    assert isinstance(answer, ConnectTimeoutError)


def test_who_does_not_answer_is_waited_for_so_long_and_not_longer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (answer,) = post(direct(silent.getsockname()[1], seconds=0.2), b"1")
    assert isinstance(answer, ReadTimeoutError)


def test_what_nobody_reads_any_more_is_closed_and_not_given_to_the_next(server: Server) -> None:
    connections = direct(server.port)
    answers = connections.post([Post({}, b"%d" % n) for n in range(8)], 4)
    assert isinstance(first := next(answers), Answer)
    assert first.content == b"0"
    answers.close()  # type: ignore[attr-defined]
    assert [a.content for a in post(connections, b"a", b"b") if isinstance(a, Answer)] == [b"a", b"b"]


def test_what_could_not_be_made_comes_back_in_its_place(server: Server) -> None:
    given = [Post({}, b"1"), NoCredentialsError(), Post({}, b"2"), Post({}, b"3"), NoCredentialsError(), Post({}, b"4")]
    answers = list(direct(server.port).post(given, 2))
    assert [a.content if isinstance(a, Answer) else a for a in answers] == [b"1", given[1], b"2", b"3", given[4], b"4"]


def test_a_whole_window_that_is_not_answered_in_time_is_enough() -> None:
    """A peer that takes connections and says nothing, forty requests at hand: four are waited for, at once."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answers = post(direct(silent.getsockname()[1], seconds=1.0), *[b"x"] * 40)
    assert [type(answer) for answer in answers] == [ReadTimeoutError] * 4 + [ConnectTimeoutError] * 36
    assert [clients.sort_error(answer).sent for answer in answers] == [True] * 4 + [False] * 36  # type: ignore[union-attr, arg-type]


def test_who_takes_no_connection_in_time_is_tried_once_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def connect(*_: Any, **__: Any) -> None:
        tried.append(1)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    answers = post(direct(9), *[b"x"] * 40)
    assert {type(answer) for answer in answers} == {ConnectTimeoutError}
    assert len(tried) <= 4


def test_connections_are_opened_at_the_same_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a region 200 ms away forty of them, one after the other, would take eight seconds, and twice that with TLS."""
    together, connect = threading.Barrier(4), socket.create_connection

    def connecting(*given: Any, **more: Any) -> socket.socket:
        together.wait(timeout=30)  # broken if one of them has to wait for another
        return connect(*given, **more)

    monkeypatch.setattr(socket, "create_connection", connecting)
    bodies = [b"1", b"2", b"3", b"4"]
    assert [answer.content for answer in post(direct(server.port), *bodies) if isinstance(answer, Answer)] == bodies


def test_a_connection_that_opens_when_nobody_waits_for_it_any_more_is_closed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens, connect, lock = threading.Event(), socket.create_connection, threading.Lock()
    opened = []

    def connecting(*given: Any, **more: Any) -> socket.socket:
        with lock:
            opened.append(1)
            late = len(opened) > 1
        if late:
            opens.wait(timeout=30)
        return connect(*given, **more)

    monkeypatch.setattr(socket, "create_connection", connecting)
    answers = direct(server.port).post([Post({}, b"x"), Post({}, b"x")], 2)
    closing = threading.Thread(target=lambda: (next(answers), answers.close()))  # type: ignore[attr-defined]
    closing.start()
    wait_until(lambda: len(opened) == 2, "both are being opened")
    opens.set()
    closing.join()
    wait_until(lambda: server.seen.connections == 2 and server.seen.closed >= 1, "the second one is closed")


def test_one_slow_answer_among_good_ones_is_waited_for_alone(server: Server) -> None:
    answers = post(direct(server.port, seconds=2.0), b"1", b"slow", b"3", b"4", b"5", b"slow", b"7", b"8", b"9")
    assert [type(answer) for answer in answers] == [
        Answer, ReadTimeoutError, Answer, Answer, Answer, ReadTimeoutError, Answer, Answer, Answer
    ]  # fmt: skip


def test_a_refusal_that_comes_before_all_is_sent_is_heard() -> None:
    """Load balancers refuse what is too large for them without reading it."""

    def refuse(listening: socket.socket) -> None:
        taken, _ = listening.accept()
        with taken:
            taken.recv(1000)
            taken.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            taken.shutdown(socket.SHUT_WR)
            while taken.recv(65_536):  # a reset would take the answer away again
                if taken.recv(65_536):
                    break

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=refuse, args=(listening,))
        thread.start()
        (answer,) = post(direct(listening.getsockname()[1]), b"x" * 20_000_000)
        thread.join()
    assert isinstance(answer, Answer) or (isinstance(answer, ConnectionClosedError) and "reset" in str(answer).lower())


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://[2001:db8::7]/", "2001:db8::7", 443),
        ("http://[::1]:8000/", "::1", 8000),
        ("https://dynamodb.us-east-1.amazonaws.com/", "dynamodb.us-east-1.amazonaws.com", 443),
        ("http://localhost/", "localhost", 80),
    ],
)
def test_where_an_endpoint_is(url: str, host: str, port: int) -> None:
    made = Direct(url, 1.0, 1.0, None)._make()
    assert (made.host, made.port) == (host, port)


def test_a_header_that_cannot_be_one_is_an_error_and_sends_nothing(server: Server) -> None:
    (answer,) = direct(server.port).post([Post({"X": "a\r\nb"}, b"1")])
    assert isinstance(answer, HTTPClientError)
    assert server.seen.bodies == []


def test_threads_share_them(server: Server) -> None:
    connections = direct(server.port)
    with ThreadPoolExecutor(8) as pool:
        answers = [a for found in pool.map(lambda n: post(connections, b"%d" % n, b"x"), range(16)) for a in found]
    assert [a.content for a in answers if isinstance(a, Answer)][::2] == [b"%d" % n for n in range(16)]


# -- TLS ------------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> Path:
    """A certificate that signs itself, for a name or an address; key and certificate in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def secured(path: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = Server()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server


def test_a_certificate_is_checked(tmp_path: Path) -> None:
    path = certificate(tmp_path, "127.0.0.1")
    with secured(path) as server:
        connections = direct(server.port, "https", str(path))
        for _ in range(2):  # a connection with a session ticket on it is not taken for one that was closed
            answers = post(connections, b"1", b"2")
            assert [answer.content for answer in answers if isinstance(answer, Answer)] == [b"1", b"2"]
        assert server.seen.connections == 2
        (answer,) = post(direct(server.port, "https"), b"3")
        assert isinstance(answer, SSLError), "signed by nobody who is known"
        assert len(server.seen.bodies) == 4


def test_a_certificate_of_another_host_is_none(tmp_path: Path) -> None:
    path = certificate(tmp_path, "example.org")
    with secured(path) as server:
        (answer,) = post(direct(server.port, "https", str(path)), b"1")
    assert isinstance(answer, SSLError)
    assert server.seen.bodies == []


@pytest.mark.parametrize("bundle", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_the_bundle_of_certificates_is_the_one_that_boto3_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: str
) -> None:
    path = certificate(tmp_path, "127.0.0.1")
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), (bundle, str(path))):
        monkeypatch.setenv(name, value)
    _trusted.cache_clear()
    with fresh_session(), secured(path) as server:
        settings = Settings(REGION, endpoints={REGION: f"https://127.0.0.1:{server.port}"})
        with pytest.raises(HTTPClientError, match="not a JSON object"):  # it came, and the server says the same back: a list
            Wire(clients.dynamodb(settings, REGION), settings).send("ListTables", "[]")
        assert server.seen.bodies == [b"[]"]
    _trusted.cache_clear()


# -- proxies --------------------------------------------------------------------------------------------------------------


@contextmanager
def fresh_session() -> Iterator[None]:
    """boto3's session keeps what it found in the environment first."""
    clients.session.cache_clear()
    yield
    clients.session.cache_clear()


def test_through_a_proxy_where_there_is_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "")
    with fresh_session():
        settings = Settings(REGION, endpoints={REGION: "http://dynamodb.example:8000"})
        wire = Wire(clients.dynamodb(settings, REGION), settings)
        answers = list(wire.send_each("ListTables", [f'{{"n":{n}}}' for n in range(9)]))
        assert [answer["n"] for answer in answers if isinstance(answer, dict)] == list(range(9))
    assert set(server.seen.targets) == {"http://dynamodb.example:8000/"}
    assert server.seen.together > 1


def test_a_proxy_for_others_is_none_for_us(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with fresh_session():
        settings = Settings(REGION, endpoints={REGION: f"http://127.0.0.1:{server.port}"})
        assert Wire(clients.dynamodb(settings, REGION), settings).send("ListTables", '{"n":1}')["n"] == 1


def test_a_proxy_that_is_away_is_an_error_of_botocore_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with fresh_session():
        settings = Settings(REGION, endpoints={REGION: "http://dynamodb.example:8000"}, connect_timeout=1.0)
        with pytest.raises(BotoCoreError) as error:
            Wire(clients.dynamodb(settings, REGION), settings).send("ListTables", "{}")
    assert clients.sort_error(error.value) is not None
