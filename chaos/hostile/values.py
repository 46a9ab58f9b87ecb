"""Names, numbers, texts and JSON that no client should send. Each is chosen by a seeded generator. Pure."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

Choose = Callable[[Random, str], Any]

NAMES: dict[str, Choose] = {
    "name empty": lambda r, m: "",
    "name with the delimiter": lambda r, m: r.choice([f"{m}#x", f"#{m}", f"{m}#", f"{m}##y"]),
    "name oversized": lambda r, m: m + r.choice(["x", "é", "日"]) * r.choice([1025, 2048, 100_000]),
    "name with NUL": lambda r, m: f"{m}\0{m}",
    "name with a control": lambda r, m: m + chr(r.choice([*range(1, 32), *range(127, 160)])) + "x",
    "name with a surrogate": lambda r, m: m + chr(r.randint(0xD800, 0xDFFF)),
    "name with an invisible": lambda r, m: m + r.choice("\u200b\u200d\u202e\u2066\ufeff\u2028\u2029") + "x",
    "name not NFC": lambda r, m: m + r.choice(["e\u0301", "A\u030a", "\u212b", "o\u0308"]),
    "name with outer space": lambda r, m: r.choice([f" {m}", f"{m} ", f"\u3000{m}", f"{m}\u00a0"]),
    "name of another type": lambda r, m: r.choice([None, 7, 1.5, True, b"x", ["x"], {"a": m}]),
}

REGIONS: dict[str, Choose] = {
    "region in the wrong case": lambda r, m: r.choice(["US-EAST-1", "Us-east-1", "EU-west-1"]),
    "region look-alike": lambda r, m: r.choice(["uѕ-east-1", "us‐east‐1", "еu-west-1", "us-east-１"]),
    "invalid region": lambda r, m: r.choice(["", "us", "us-east-0", "us-east-1-", " us-east-1", "us-east-1\n", "*"]),
}

SEQUENCES: tuple[Any, ...] = (0, -1, -(10**20), 10**16, 10**400, True, 1.0, float("nan"), "7", None, b"1")


def deep(depth: int) -> Any:
    """Return an object nested `depth` levels deep."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


PAYLOADS: dict[str, Choose] = {
    "payload NaN": lambda r, m: {"id": m, "n": float("nan")},
    "payload Infinity": lambda r, m: {"id": m, "n": r.choice([float("inf"), float("-inf")])},
    "payload huge integer": lambda r, m: {"id": m, "n": r.choice([2**53, -(2**53), 10**400, 10**5000])},
    "payload deep": lambda r, m: {"id": m, "n": deep(r.choice([33, 40, 500, 10_000]))},
    "payload huge": lambda r, m: {"id": m, "n": r.choice(["x", "é", "\0"]) * r.choice([409_600, 500_000])},
    "payload surrogate": lambda r, m: {"id": m, "n": r.choice(["\ud800", "a\udfff"])},
    "payload surrogate key": lambda r, m: {"id": m, "\ud800": 1},
    "payload bytes": lambda r, m: {"id": m, "n": r.choice([b"\xff\xfe", bytearray(3), memoryview(b"x")])},
    "payload object": lambda r, m: {"id": m, "n": r.choice([object(), {1, 2}, 1j, Random])},
    "payload keys that are not texts": lambda r, m: {"id": m, "n": {r.choice([1, None, 1.5, True, b"k"]): 2}},
    "payload not a mapping": lambda r, m: r.choice([None, [], "x", 7, [("id", m)], b"{}"]),
    "payload reserved mark": lambda r, m: {"id": m, "n": {"$personal": r.choice(["garbage", 1, None, {"v": 1}])}},
    "payload circular": lambda r, m: _circular(m),
}


def _circular(mark: str) -> dict[str, Any]:
    value: dict[str, Any] = {"id": mark}
    value["n"] = value
    return value


def json_texts(mark: str) -> dict[str, str]:
    """Return JSON texts of an event's payload that are no I-JSON object (RFC 7493), by their defect."""
    head = f'{{"id":"{mark}",'
    return {
        "text not JSON": head,
        "text not an object": f'["{mark}"]',
        "text a bare number": "1",
        "text empty": "",
        "text duplicate keys": f'{head}"n":1,"n":2}}',
        "text NaN": f'{head}"n":NaN}}',
        "text Infinity": f'{head}"n":-Infinity}}',
        "text 1e999": f'{head}"n":1e999}}',
        "text integer beyond 2^53": f'{head}"n":9007199254740993}}',
        "text integer of 5,000 digits": f'{head}"n":{"9" * 5000}}}',
        "text 40 deep": f'{head}"n":{"[" * 40}{"]" * 40}}}',
        "text 10,000 deep": f'{head}"n":{"[" * 10_000}{"]" * 10_000}}}',
        "text lone surrogate escape": f'{head}"n":"\\ud800"}}',
        "text with a BOM": f'\ufeff{head}"n":1}}',
        "text with trailing data": f'{head}"n":1}} {{}}',
        "text with a raw control": f'{head}"n":"\x01"}}',
    }


TIMES: tuple[str, ...] = (
    "-000000000001-00000",
    "99999999999999-00000",
    "NaN",
    "",
    "1763914981123",
    "1763914981123-99999",
    "１７６３９１４９８１１２３-00000",
    "1763914981123-0004x",
    "1e12-00000",
    "0x00000000000-00000",
)
