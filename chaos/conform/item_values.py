"""Probes of values and sizes: numbers, texts and bytes, the limits of items, keys, pages and transactions."""

from __future__ import annotations

from typing import Any

from chaos.conform.lab import Lab, item, outcome
from chaos.conform.probe import API, DEVELOPER_GUIDE, Area, harmless, hidden, unsafe
from chaos.conform.promises import ACKNOWLEDGED, PREFIX, VIEWS, WHOLE

AREA = Area("values")

_NUMBERS = f"{DEVELOPER_GUIDE}HowItWorks.NamingRulesDataTypes.html#HowItWorks.DataTypes.Number"
_TYPES = f"{DEVELOPER_GUIDE}HowItWorks.NamingRulesDataTypes.html"
_LIMITS = f"{DEVELOPER_GUIDE}Constraints.html"
_QUOTAS = f"{DEVELOPER_GUIDE}ServiceQuotas.html"
_TOO_MUCH = hidden("accepted", "what AWS refuses passes here; Meridian refuses larger events itself")
_KB = 1024


def _number(lab: Lab, text: str) -> str:
    """Return a number as it is read after it was written, or the code of the refusal."""
    table, pk = lab.plain(), lab.key()
    said = outcome(lambda: lab.db.put_item(TableName=table, Item={**item(pk), "n": {"N": text}}))
    return str(lab.held(table, pk)[0]["n"]["N"]) if said == "accepted" else said


@AREA.ask("Is a number of 38 digits kept?", "1234567890" * 3 + "12345678", _NUMBERS, VIEWS)
def number_38_digits(lab: Lab) -> str:
    return _number(lab, "1234567890" * 3 + "12345678")


@AREA.ask(
    "Is a number of 39 digits refused?",
    "ValidationException",
    _NUMBERS,
    VIEWS,
    unsafe("123456789*", "a number is stored that another region's table refuses or rounds"),
)
def number_39_digits(lab: Lab) -> str:
    return _number(lab, "1234567890" * 3 + "123456789")


@AREA.ask(
    "Is a fraction of 39 digits refused?",
    "ValidationException",
    _NUMBERS,
    VIEWS,
    unsafe("0.*", "a number is stored that another region's table refuses or rounds"),
)
def number_39_digits_of_fraction(lab: Lab) -> str:
    return _number(lab, "0.1" + "23456789" * 4 + "123456")


_SAME = harmless("*", "Meridian compares numbers by value, and keeps those of payloads in texts")


@AREA.ask("How is 1.50 returned?", "1.5", _NUMBERS, VIEWS, _SAME)
def number_trailing_zero(lab: Lab) -> str:
    return _number(lab, "1.50")


@AREA.ask("How is 007 returned?", "7", _NUMBERS, VIEWS, _SAME)
def number_leading_zeros(lab: Lab) -> str:
    return _number(lab, "007")


@AREA.ask("How is -0 returned?", "not documented", _NUMBERS, VIEWS, _SAME)
def number_minus_zero(lab: Lab) -> str:
    return _number(lab, "-0")


@AREA.ask("How is 1E3 returned?", "not documented", _NUMBERS, VIEWS, _SAME)
def number_exponent(lab: Lab) -> str:
    return _number(lab, "1E3")


@AREA.ask("Is the largest number kept?", "kept", _NUMBERS, VIEWS)
def number_largest(lab: Lab) -> str:
    from decimal import Decimal

    text = _number(lab, "9.9999999999999999999999999999999999999E+125")
    try:
        return "kept" if Decimal(text) == Decimal("9.9999999999999999999999999999999999999E+125") else text
    except ArithmeticError:
        return text


@AREA.ask(
    "Is a number beyond the range refused?",
    "ValidationException",
    _NUMBERS,
    VIEWS,
    _TOO_MUCH,
    hidden("1*", "a number that AWS refuses is stored here"),
)
def number_too_large(lab: Lab) -> str:
    return _number(lab, "1E126")


@AREA.ask(
    "Is a number too close to zero refused?",
    "ValidationException",
    _NUMBERS,
    VIEWS,
    hidden("*1*", "a number that AWS refuses is stored here"),
    hidden("1E-131", "a number that AWS refuses is stored here"),
)
def number_too_small(lab: Lab) -> str:
    return _number(lab, "1E-131")


@AREA.ask("Is a text that is no number refused as one?", "ValidationException", _NUMBERS, VIEWS)
def number_text(lab: Lab) -> str:
    return _number(lab, "seven")


@AREA.ask("Are bytes kept?", "kept", _TYPES, ACKNOWLEDGED)
def bytes_kept(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, data=bytes(range(256)))
    return "kept" if lab.held(table, pk)[0]["data"]["B"] == bytes(range(256)) else "changed"


@AREA.ask("Is text kept, whatever its characters?", "kept", _TYPES, ACKNOWLEDGED)
def text_kept(lab: Lab) -> str:
    table, pk, text = lab.plain(), lab.key(), "é\u0301 \u0000 \U0001f600 \uffff \r\n"
    lab.put(table, pk, text=text)
    return "kept" if lab.held(table, pk)[0]["text"]["S"] == text else "changed"


@AREA.ask("Is an empty text accepted as a value?", "accepted", _TYPES, ACKNOWLEDGED)
def text_empty(lab: Lab) -> str:
    return outcome(lambda: lab.put(lab.plain(), lab.key(), text=""))


@AREA.ask("Is an empty text refused as a key?", "ValidationException", _TYPES, PREFIX)
def key_empty(lab: Lab) -> str:
    return outcome(lambda: lab.put(lab.plain(), ""))


@AREA.ask(
    "Are 32 levels of nested maps kept?",
    "accepted",
    _LIMITS,
    ACKNOWLEDGED,
    harmless("ValidationException", "Meridian keeps payloads as text"),
)
def nested(lab: Lab) -> str:
    value: dict[str, Any] = {"S": "x"}
    for _ in range(31):
        value = {"M": {"a": value}}
    return outcome(lambda: lab.put(lab.plain(), lab.key(), deep=value))


# -- sizes --------------------------------------------------------------------------------------------------------


def _big(lab: Lab) -> str:
    """Return a table for large items."""
    return lab.shared("big", lab.create)


def _sized(pk: str, size: int, sk: str = "1") -> dict[str, Any]:
    """Return an item of exactly `size` bytes, by the page's rules."""
    used = len("pk") + len(pk) + len("sk") + len(sk) + len("x")
    return item(pk, sk, x="x" * (size - used))


@AREA.ask("Is an item of 400 KB accepted?", "accepted", _LIMITS, ACKNOWLEDGED)
def item_400_kb(lab: Lab) -> str:
    return outcome(lambda: lab.db.put_item(TableName=_big(lab), Item=_sized(lab.key(), 400 * _KB)))


@AREA.ask("Is an item of 400 KB and a byte refused?", "ValidationException", _LIMITS, ACKNOWLEDGED, _TOO_MUCH)
def item_beyond_400_kb(lab: Lab) -> str:
    return outcome(lambda: lab.db.put_item(TableName=_big(lab), Item=_sized(lab.key(), 400 * _KB + 1)))


@AREA.ask("Is an INSERT of more than 400 KB refused?", "ValidationException", _LIMITS, ACKNOWLEDGED, _TOO_MUCH)
def insert_beyond_400_kb(lab: Lab) -> str:
    one = _sized(lab.key(), 400 * _KB + 1)
    text = f"INSERT INTO \"{_big(lab)}\" VALUE {{'pk': ?, 'sk': ?, 'x': ?}}"
    return outcome(lambda: lab.db.execute_statement(Statement=text, Parameters=list(one.values())))


def _keyed(lab: Lab, pk: int, sk: int) -> str:
    name = lab.key()
    return outcome(lambda: lab.put(_big(lab), name.ljust(pk, "x"), "s".ljust(sk, "x")))


@AREA.ask("Is a partition key of 2,048 bytes accepted?", "accepted", _LIMITS, PREFIX)
def partition_key_2048(lab: Lab) -> str:
    return _keyed(lab, 2048, 1)


@AREA.ask("Is a partition key of 2,049 bytes refused?", "ValidationException", _LIMITS, PREFIX, _TOO_MUCH)
def partition_key_2049(lab: Lab) -> str:
    return _keyed(lab, 2049, 1)


@AREA.ask("Is a sort key of 1,024 bytes accepted?", "accepted", _LIMITS, PREFIX)
def sort_key_1024(lab: Lab) -> str:
    return _keyed(lab, 1, 1024)


@AREA.ask("Is a sort key of 1,025 bytes refused?", "ValidationException", _LIMITS, PREFIX, _TOO_MUCH)
def sort_key_1025(lab: Lab) -> str:
    return _keyed(lab, 1, 1025)


def _large(lab: Lab, count: int, size: int) -> str:
    """Return a new partition that holds so many items of that size."""
    pk = lab.key()
    for n in range(count):
        lab.db.put_item(TableName=_big(lab), Item=_sized(pk, size, f"{n:03d}"))
    return pk


@AREA.ask(
    "Does a query's page end after a megabyte?",
    "some of 6, more to come",
    _QUOTAS,
    PREFIX,
    hidden("all of 6", "code that reads one page only would pass every test here"),
)
def page_1_mb(lab: Lab) -> str:
    pk = _large(lab, 6, 300 * _KB)
    request = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": pk}}}
    page = lab.db.query(TableName=_big(lab), **request)
    return "some of 6, more to come" if page.get("LastEvaluatedKey") and len(page["Items"]) < 6 else "all of 6"


@AREA.ask(
    "Is a page's megabyte counted before the filter?",
    "no items, more to come",
    f"{DEVELOPER_GUIDE}Query.FilterExpression.html",
    PREFIX,
    hidden("no items", "code that takes an empty page for the end would pass every test here"),
)
def page_before_filter(lab: Lab) -> str:
    pk = _large(lab, 6, 300 * _KB)
    values = {":pk": {"S": pk}, ":none": {"S": "none"}}
    request = {"KeyConditionExpression": "pk = :pk", "FilterExpression": "begins_with(x, :none)"}
    page = lab.db.query(TableName=_big(lab), ExpressionAttributeValues=values, **request)
    return f"{'items' if page['Items'] else 'no items'}{', more to come' if page.get('LastEvaluatedKey') else ''}"


@AREA.ask(
    "Does a batch read of 17 MB leave keys unprocessed?",
    "the rest is unprocessed",
    f"{API}API_BatchGetItem.html",
    ACKNOWLEDGED,
    hidden("nothing is unprocessed", "code that drops unprocessed keys would pass every test here"),
)
def batch_get_16_mb(lab: Lab) -> str:
    table = _big(lab)
    keys = [item(pk, f"{n:03d}") for pk in [_large(lab, 45, 390 * _KB)] for n in range(45)]
    answer = lab.db.batch_get_item(RequestItems={table: {"Keys": keys}})
    left = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
    if len(answer["Responses"][table]) + len(left) != 45:
        return "keys are lost"
    return "the rest is unprocessed" if left else "nothing is unprocessed"


def _transacted(lab: Lab, count: int, size: int) -> str:
    table, pk = _big(lab), lab.key()
    puts = [{"Put": {"TableName": table, "Item": _sized(pk, size, f"{n:03d}")}} for n in range(count)]
    return outcome(lambda: lab.db.transact_write_items(TransactItems=puts))


@AREA.ask("Is a transaction of just under 4 MB accepted?", "accepted", _LIMITS, WHOLE)
def transaction_4_mb(lab: Lab) -> str:
    return _transacted(lab, 10, 395 * _KB)


@AREA.ask(
    "Is a transaction of more than 4 MB refused?",
    "ValidationException",
    _LIMITS,
    WHOLE,
    _TOO_MUCH,
    harmless("TransactionCanceledException", "refused all the same; Meridian refuses larger ones itself"),
    harmless("413", "refused all the same; Meridian refuses larger ones itself"),
)
def transaction_beyond_4_mb(lab: Lab) -> str:
    return _transacted(lab, 11, 395 * _KB)
