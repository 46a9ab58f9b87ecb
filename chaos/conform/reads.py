"""Probes of reads: consistency, order, pages, the sparse index, scans."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chaos.conform.lab import INDEX, Lab, item, outcome
from chaos.conform.probe import API, DEVELOPER_GUIDE, Area, harmless, hidden, unsafe
from chaos.conform.promises import ACKNOWLEDGED, BACKLOG, PREFIX, RUNBOOKS, TOKEN, VIEWS

AREA = Area("reads")

_CONSISTENCY = f"{DEVELOPER_GUIDE}HowItWorks.ReadConsistency.html"
_QUERY = f"{API}API_Query.html"
_SCAN = f"{API}API_Scan.html"
_BATCH_GET = f"{API}API_BatchGetItem.html"
_PAGES = f"{DEVELOPER_GUIDE}Query.Pagination.html"
_INDEX = f"{DEVELOPER_GUIDE}GSI.html"
_PK = {"KeyConditionExpression": "pk = :pk"}


def _lane(lab: Lab, count: int = 10, **more: Any) -> tuple[str, str]:
    """Return the shared table, and a new partition of it that holds so many items."""
    table, pk = lab.plain(), lab.key()
    for start in range(0, count, 25):
        puts = [{"PutRequest": {"Item": item(pk, f"{n:03d}", **more)}} for n in range(start, min(start + 25, count))]
        lab.db.batch_write_item(RequestItems={table: puts})
    return table, pk


def _pages(lab: Lab, pk: str, **request: Any) -> Iterator[dict[str, Any]]:
    asked = {**_PK, "ExpressionAttributeValues": {":pk": {"S": pk}}, "ConsistentRead": True, **request}
    while True:
        page = lab.db.query(**asked)
        yield page
        if not page.get("LastEvaluatedKey"):
            return
        asked["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _keys(pages: Iterator[dict[str, Any]]) -> list[str]:
    return [each["sk"]["S"] for page in pages for each in page["Items"]]


@AREA.ask("Does a consistent read see an acknowledged write?", "20 of 20", _CONSISTENCY, TOKEN)
def read_your_write(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()

    def seen(n: int) -> bool:
        lab.put(table, pk, str(n))
        return "Item" in lab.db.get_item(TableName=table, Key=item(pk, str(n)), ConsistentRead=True)

    with ThreadPoolExecutor(4) as pool:
        return f"{sum(pool.map(seen, range(20)))} of 20"


@AREA.ask(
    "May an eventually consistent read miss an acknowledged write?",
    "it may",
    _CONSISTENCY,
    TOKEN,
    hidden("never in 20 reads", "code that must read consistently and does not would pass every test here"),
)
def read_eventually(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    for n in range(20):
        lab.put(table, pk, str(n))
        if "Item" not in lab.db.get_item(TableName=table, Key=item(pk, str(n))):
            return "it may"
    return "never in 20 reads"


@AREA.ask("Does a consistent query see all acknowledged writes?", "10 items", _CONSISTENCY, PREFIX)
def query_your_writes(lab: Lab) -> str:
    table, pk = _lane(lab)
    return f"{len(lab.held(table, pk))} items"


@AREA.ask("Are a partition's items in the order of their sort keys?", "ascending", _QUERY, PREFIX)
def query_order(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    for n in (7, 2, 9, 1, 10, 100):
        lab.put(table, pk, f"{n:08d}")
    found = [each["sk"]["S"] for each in lab.held(table, pk)]
    return "ascending" if found == sorted(found) and len(found) == 6 else "another order"


@AREA.ask(
    "Are texts ordered by their UTF-8 bytes?", "by bytes", f"{DEVELOPER_GUIDE}HowItWorks.NamingRulesDataTypes.html", PREFIX
)
def query_order_of_bytes(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    names = ["a", "Z", "z", "é", "\uffee", "\U0001f600", "0", "#"]
    for name in names:
        lab.put(table, pk, name)
    found = [each["sk"]["S"] for each in lab.held(table, pk)]
    return "by bytes" if found == sorted(names, key=str.encode) else "another order"


@AREA.ask("Does a backward query begin with the last item?", "009, 008", _QUERY, PREFIX)
def query_backward(lab: Lab) -> str:
    table, pk = _lane(lab)
    return ", ".join(_keys(iter([next(_pages(lab, pk, TableName=table, ScanIndexForward=False, Limit=2))])))


@AREA.ask("Are both ends of BETWEEN included?", "003, 004, 005", _QUERY, PREFIX)
def query_between(lab: Lab) -> str:
    table, pk = _lane(lab)
    values = {":pk": {"S": pk}, ":a": {"S": "003"}, ":b": {"S": "005"}}
    condition = "pk = :pk AND sk BETWEEN :a AND :b"
    return ", ".join(
        _keys(_pages(lab, pk, TableName=table, KeyConditionExpression=condition, ExpressionAttributeValues=values))
    )


@AREA.ask("Does a query of pages give each item once, in order?", "10 items in order", _PAGES, PREFIX)
def query_pages(lab: Lab) -> str:
    table, pk = _lane(lab)
    found = _keys(_pages(lab, pk, TableName=table, Limit=3))
    return f"{len(found)} items {'in order' if found == sorted(set(found)) else 'in disorder'}"


@AREA.ask("Is every item returned when pages are read backward?", "10 items in order", _PAGES, PREFIX)
def query_pages_backward(lab: Lab) -> str:
    table, pk = _lane(lab)
    found = _keys(_pages(lab, pk, TableName=table, Limit=3, ScanIndexForward=False))
    return f"{len(found)} items {'in order' if found == sorted(set(found), reverse=True) else 'in disorder'}"


@AREA.ask("What is LastEvaluatedKey where more items are?", "pk, sk", _PAGES, PREFIX)
def query_last_key(lab: Lab) -> str:
    table, pk = _lane(lab)
    return ", ".join(sorted(next(_pages(lab, pk, TableName=table, Limit=3)).get("LastEvaluatedKey", {})))


@AREA.ask(
    "Has a page that ends with the last item a LastEvaluatedKey?",
    "not documented",
    _PAGES,
    PREFIX,
    harmless("*", "the page allows both; Meridian reads on until there is no key"),
)
def query_exact_page(lab: Lab) -> str:
    table, pk = _lane(lab)
    return "it has" if next(_pages(lab, pk, TableName=table, Limit=10)).get("LastEvaluatedKey") else "it has not"


@AREA.ask("Does a query of an absent partition return no items?", "no items", _QUERY, PREFIX)
def query_absent(lab: Lab) -> str:
    return "items" if lab.held(lab.plain(), lab.key()) else "no items"


@AREA.ask("Does a filter count what it left out?", "2 of 10", _QUERY, RUNBOOKS)
def query_filter(lab: Lab) -> str:
    table, pk = _lane(lab)
    lab.put(table, pk, "003", value="a")
    lab.put(table, pk, "004", value="a")
    names = {"ExpressionAttributeNames": {"#v": "value"}, "FilterExpression": "attribute_exists(#v)"}
    page = next(_pages(lab, pk, TableName=table, **names))
    return f"{page['Count']} of {page['ScannedCount']}"


@AREA.ask("Does a projection return the named attributes only?", "pk, sk", _QUERY, PREFIX)
def query_projection(lab: Lab) -> str:
    table, pk = _lane(lab, 1, value="a")
    page = next(_pages(lab, pk, TableName=table, ProjectionExpression="pk, sk"))
    return ", ".join(sorted(page["Items"][0]))


@AREA.ask("Has a batch read no entry for an absent item?", "1 item, nothing unprocessed", _BATCH_GET, ACKNOWLEDGED)
def batch_get_absent(lab: Lab) -> str:
    table, pk = _lane(lab, 1)
    keys = [item(pk, "000"), item(pk, "999")]
    answer = lab.db.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
    left = "nothing" if answer.get("UnprocessedKeys") == {} else f"{answer.get('UnprocessedKeys')}"
    return f"{len(answer['Responses'][table])} item, {left} unprocessed"


@AREA.ask("Does a batch read take 100 keys?", "100 items", _BATCH_GET, ACKNOWLEDGED)
def batch_get_full(lab: Lab) -> str:
    table, pk = _lane(lab, 100)
    keys = [item(pk, f"{n:03d}") for n in range(100)]
    return f"{len(lab.db.batch_get_item(RequestItems={table: {'Keys': keys}})['Responses'][table])} items"


@AREA.ask(
    "Is a batch read of 101 keys refused?",
    "ValidationException",
    _BATCH_GET,
    ACKNOWLEDGED,
    hidden("accepted", "a batch that AWS refuses passes here; Meridian reads 100 keys at most"),
)
def batch_get_too_many(lab: Lab) -> str:
    keys = [item(lab.prefix, f"{n:03d}") for n in range(101)]
    return outcome(lambda: lab.db.batch_get_item(RequestItems={lab.plain(): {"Keys": keys}}))


@AREA.ask(
    "Is a key twice in a batch read refused?",
    "ValidationException",
    _BATCH_GET,
    ACKNOWLEDGED,
    hidden("accepted", "a request that AWS refuses passes here; Meridian names each key once"),
)
def batch_get_same_key(lab: Lab) -> str:
    keys = [item(lab.prefix), item(lab.prefix)]
    return outcome(lambda: lab.db.batch_get_item(RequestItems={lab.plain(): {"Keys": keys}}))


# -- the index ----------------------------------------------------------------------------------------------------


def _index(lab: Lab, begins: str, **more: Any) -> list[dict[str, Any]]:
    request = {"KeyConditionExpression": "begins = :b", "ExpressionAttributeValues": {":b": {"S": begins}}}
    found: list[dict[str, Any]] = []
    while True:
        page = lab.db.query(TableName=lab.plain(), IndexName=INDEX, **{**request, **more})
        found += page["Items"]
        if not page.get("LastEvaluatedKey"):
            return found
        more["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _begun(lab: Lab, names: str, **more: Any) -> str:
    """Put an item for each letter under a new index key; return the key when the index shows them all."""
    begins = lab.key()
    for name in names:
        lab.put(lab.plain(), f"{begins}#{name}", begins=begins, **more)
    lab.until(lambda: len(_index(lab, begins)) >= len(names))
    return begins


@AREA.ask("Does an item with the index key show in the index?", "1 item", _INDEX, PREFIX)
def index_shows(lab: Lab) -> str:
    return f"{len(_index(lab, _begun(lab, 'a')))} item"


@AREA.ask(
    "May the index show a write late?",
    "it may",
    _INDEX,
    RUNBOOKS,
    hidden("never in 10 writes", "a runbook that does not wait for the index would pass every test here"),
)
def index_late(lab: Lab) -> str:
    begins = lab.key()
    for n in range(10):
        lab.put(lab.plain(), f"{begins}#{n}", begins=begins)
        if len(_index(lab, begins)) <= n:
            return "it may"
    return "never in 10 writes"


@AREA.ask(
    "Is an item without the index key left out of the index?",
    "1 item",
    f"{DEVELOPER_GUIDE}bp-indexes-general-sparse-indexes.html",
    PREFIX,
)
def index_sparse(lab: Lab) -> str:
    begins = lab.key()
    lab.put(lab.plain(), f"{begins}#a")
    lab.put(lab.plain(), f"{begins}#b", begins=begins)
    lab.until(lambda: _index(lab, begins))
    return f"{len(_index(lab, begins))} item"


@AREA.ask("Which attributes has a KEYS_ONLY index?", "begins, pk, sk", f"{API}API_Projection.html", PREFIX)
def index_keys_only(lab: Lab) -> str:
    return ", ".join(sorted(_index(lab, _begun(lab, "a", value="x"))[0]))


@AREA.ask("Is the index in the order of its sort key?", "a, b, c", _INDEX, PREFIX)
def index_order(lab: Lab) -> str:
    return ", ".join(each["pk"]["S"].rpartition("#")[2] for each in _index(lab, _begun(lab, "cab")))


@AREA.ask("Do pages of the index give each item once?", "5 items", _INDEX, PREFIX)
def index_pages(lab: Lab) -> str:
    begins = _begun(lab, "abcde")
    return f"{len({each['pk']['S'] for each in _index(lab, begins, Limit=2)})} items"


@AREA.ask("Does an item leave the index with its index key?", "gone", _INDEX, PREFIX)
def index_leaves(lab: Lab) -> str:
    begins = _begun(lab, "a")
    lab.put(lab.plain(), f"{begins}#a")
    return "gone" if lab.until(lambda: not _index(lab, begins)) else "still there"


@AREA.ask(
    "Is a consistent read of the index refused?",
    "ValidationException",
    _QUERY,
    TOKEN,
    hidden("accepted", "a read that AWS refuses passes here; Meridian sends none"),
)
def index_consistent(lab: Lab) -> str:
    return outcome(lambda: _index(lab, lab.key(), ConsistentRead=True))


@AREA.ask(
    "Is a projection beyond a KEYS_ONLY index refused?",
    "ValidationException",
    f"{DEVELOPER_GUIDE}SecondaryIndexes.html",
    PREFIX,
    hidden("accepted", "a request that AWS refuses passes here, and a mistake in it would not be found"),
)
def index_projection(lab: Lab) -> str:
    names = {"ProjectionExpression": "#v", "ExpressionAttributeNames": {"#v": "value"}}
    return outcome(lambda: _index(lab, _begun(lab, "a", value="x"), **names))


@AREA.ask(
    "Is an index key of the wrong type refused?",
    "ValidationException",
    f"{DEVELOPER_GUIDE}GSI.html",
    PREFIX,
    hidden("accepted", "an item that AWS refuses is stored here; Meridian's index keys are texts"),
)
def index_type(lab: Lab) -> str:
    return outcome(lambda: lab.put(lab.plain(), lab.key(), begins=1))


# -- scans --------------------------------------------------------------------------------------------------------


def _scanned(lab: Lab) -> str:
    """Return a table with 40 partitions of two items."""

    def fill() -> str:
        table = lab.create()
        for n in range(40):
            puts = [{"PutRequest": {"Item": item(f"p{n}", sk)}} for sk in "12"]
            lab.db.batch_write_item(RequestItems={table: puts})
        return table

    return lab.shared("scanned", fill)


def _scan(lab: Lab, **more: Any) -> list[tuple[str, str]]:
    found = []
    while True:
        page = lab.db.scan(TableName=_scanned(lab), ConsistentRead=True, **more)
        found += [(each["pk"]["S"], each["sk"]["S"]) for each in page["Items"]]
        if not page.get("LastEvaluatedKey"):
            return found
        more["ExclusiveStartKey"] = page["LastEvaluatedKey"]


@AREA.ask("Does a scan of pages give each item once?", "80 items, 80 different", _SCAN, RUNBOOKS)
def scan_pages(lab: Lab) -> str:
    found = _scan(lab, Limit=7)
    return f"{len(found)} items, {len(set(found))} different"


@AREA.ask(
    "Do the segments of a scan give each item once?", "80 items, 80 different", f"{DEVELOPER_GUIDE}Scan.html", RUNBOOKS
)
def scan_segments(lab: Lab) -> str:
    found = [key for segment in range(4) for key in _scan(lab, TotalSegments=4, Segment=segment)]
    return f"{len(found)} items, {len(set(found))} different"


@AREA.ask(
    "Does a scan return the items of a partition together?",
    "not documented",
    _SCAN,
    RUNBOOKS,
    unsafe("apart", "Meridian finds the head of a lane where the partition changes"),
    harmless("together", "the page does not say; Meridian finds the heads of lanes by it, and says so"),
)
def scan_together(lab: Lab) -> str:
    found = [pk for pk, _ in _scan(lab)]
    changes = sum(one != two for one, two in itertools.pairwise(found))
    return "together" if changes == len(set(found)) - 1 else "apart"


@AREA.ask(
    "Is a segment beyond the total refused?",
    "ValidationException",
    _SCAN,
    VIEWS,
    hidden("accepted", "a request that AWS refuses passes here; Meridian sends none"),
)
def scan_segment_beyond(lab: Lab) -> str:
    return outcome(lambda: lab.db.scan(TableName=lab.plain(), TotalSegments=2, Segment=2))


@AREA.ask("Is a partition read on from a LastEvaluatedKey whose item is gone?", "006 to 009", _PAGES, BACKLOG)
def query_from_deleted(lab: Lab) -> str:
    table, pk = _lane(lab)
    page = next(_pages(lab, pk, TableName=table, Limit=6))
    lab.db.delete_item(TableName=table, Key=page["LastEvaluatedKey"])
    found = _keys(_pages(lab, pk, TableName=table, ExclusiveStartKey=page["LastEvaluatedKey"]))
    return f"{found[0]} to {found[-1]}" if found else "nothing"
