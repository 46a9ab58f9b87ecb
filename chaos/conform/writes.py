"""Probes of conditional writes, batches and TransactWriteItems: control state, views and claims are written by them."""

from __future__ import annotations

from typing import Any

from chaos.conform.lab import Lab, item, outcome, reasons, refused
from chaos.conform.probe import API, DEVELOPER_GUIDE, Area, harmless, hidden, unsafe
from chaos.conform.promises import ALONE, BACKLOG, CLAIMS, RUNBOOKS, VIEWS

AREA = Area("writes")

_CONDITIONS = f"{DEVELOPER_GUIDE}Expressions.ConditionExpressions.html"
_PUT = f"{API}API_PutItem.html"
_UPDATE = f"{API}API_UpdateItem.html"
_DELETE = f"{API}API_DeleteItem.html"
_BATCH = f"{API}API_BatchWriteItem.html"
_TRANSACT = f"{API}API_TransactWriteItems.html"
_TRANSACTIONS = f"{DEVELOPER_GUIDE}transaction-apis.html"
_RESERVED = f"{DEVELOPER_GUIDE}ReservedWords.html"
_NEW = "attribute_not_exists(pk)"
_IS = {"ConditionExpression": "#v = :v", "ExpressionAttributeNames": {"#v": "value"}}
_REFUSED = harmless("*Exception", "refused all the same; Meridian sends none")


def _is(value: str) -> dict[str, Any]:
    return {**_IS, "ExpressionAttributeValues": {":v": {"S": value}}}


def _value(lab: Lab, table: str, pk: str) -> str:
    return ", ".join(each["value"]["S"] for each in lab.held(table, pk)) or "nothing"


@AREA.ask("What refuses a put whose condition fails?", "ConditionalCheckFailedException", _CONDITIONS, CLAIMS)
def put_condition(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="a")
    return outcome(lambda: lab.db.put_item(TableName=table, Item=item(pk, value="b"), ConditionExpression=_NEW))


@AREA.ask("Is an item unchanged after a put whose condition fails?", "a", _CONDITIONS, CLAIMS)
def put_condition_keeps(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="a")
    outcome(lambda: lab.db.put_item(TableName=table, Item=item(pk, value="b"), **_is("other")))
    return _value(lab, table, pk)


@AREA.ask("Is a put accepted whose condition an absent item meets?", "b", _CONDITIONS, CLAIMS)
def put_condition_absent(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.db.put_item(TableName=table, Item=item(pk, value="b"), ConditionExpression=_NEW)
    return _value(lab, table, pk)


@AREA.ask(
    "Does a comparison with an attribute that is not there fail?", "ConditionalCheckFailedException", _CONDITIONS, CLAIMS
)
def condition_of_nothing(lab: Lab) -> str:
    return outcome(lambda: lab.db.put_item(TableName=lab.plain(), Item=item(lab.key(), value="b"), **_is("a")))


@AREA.ask(
    "Does a refused put return the item on request?",
    "a",
    _PUT,
    CLAIMS,
    harmless("no item", "Meridian reads the item itself"),
)
def put_condition_returns(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="a")
    error = refused(
        lambda: lab.db.put_item(
            TableName=table,
            Item=item(pk, value="b"),
            ConditionExpression=_NEW,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    )
    found: Any = error.response.get("Item") if error else {}
    return found["value"]["S"] if found else "no item"


@AREA.ask("Does an update create an absent item?", "created", _UPDATE, VIEWS)
def update_creates(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    _set(lab, table, pk, "created")
    return _value(lab, table, pk)


def _set(lab: Lab, table: str, pk: str, value: str, **more: Any) -> Any:
    values = {":new": {"S": value}, **more.pop("ExpressionAttributeValues", {})}
    return lab.db.update_item(
        TableName=table,
        Key=item(pk),
        UpdateExpression="SET #v = :new",
        ExpressionAttributeValues=values,
        **{"ExpressionAttributeNames": {"#v": "value"}, **more},
    )


@AREA.ask("Is an update refused whose condition fails?", "ConditionalCheckFailedException", _CONDITIONS, RUNBOOKS)
def update_condition(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="a")
    return outcome(lambda: _set(lab, table, pk, "b", **_is("other")))


@AREA.ask("Does an update leave other attributes alone?", "kept", _UPDATE, VIEWS)
def update_keeps(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="a", other="kept")
    _set(lab, table, pk, "b")
    return str(lab.held(table, pk)[0].get("other", {}).get("S"))


@AREA.ask("Does ADD count exactly?", "7", _UPDATE, VIEWS)
def update_adds(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    for amount in (3, 4):
        lab.db.update_item(
            TableName=table,
            Key=item(pk),
            UpdateExpression="ADD amount :n",
            ExpressionAttributeValues={":n": {"N": str(amount)}},
        )
    return str(lab.held(table, pk)[0]["amount"]["N"])


@AREA.ask("Is a delete refused whose condition fails?", "ConditionalCheckFailedException", _CONDITIONS, CLAIMS)
def delete_condition(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="a")
    return outcome(lambda: lab.db.delete_item(TableName=table, Key=item(pk), **_is("other")))


@AREA.ask("Is the deletion of an absent item accepted?", "accepted", _DELETE, RUNBOOKS)
def delete_absent(lab: Lab) -> str:
    return outcome(lambda: lab.db.delete_item(TableName=lab.plain(), Key=item(lab.key())))


@AREA.ask("Is the old item returned on request?", "a", _PUT, VIEWS)
def put_returns_old(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="a")
    answer = lab.db.put_item(TableName=table, Item=item(pk, value="b"), ReturnValues="ALL_OLD")
    return str(answer.get("Attributes", {}).get("value", {}).get("S", "nothing"))


@AREA.ask(
    "Is an expression value that is not used refused?",
    "ValidationException",
    f"{DEVELOPER_GUIDE}Expressions.ExpressionAttributeValues.html",
    ALONE,
    hidden("accepted", "a request that AWS refuses passes here; a mistake in an expression would not be found"),
)
def unused_value(lab: Lab) -> str:
    values = {":v": {"S": "a"}, ":unused": {"S": "b"}}
    return outcome(lambda: _set(lab, lab.plain(), lab.key(), "c", ExpressionAttributeValues=values))


@AREA.ask(
    "Is an attribute given by its reserved word refused?",
    "ValidationException",
    _RESERVED,
    ALONE,
    hidden("accepted", "a request that AWS refuses passes here; a reserved word in an expression would not be found"),
)
def reserved_word(lab: Lab) -> str:
    request = {"UpdateExpression": "SET value = :v", "ExpressionAttributeValues": {":v": {"S": "a"}}}
    return outcome(lambda: lab.db.update_item(TableName=lab.plain(), Key=item(lab.key()), **request))


# -- batches ------------------------------------------------------------------------------------------------------


@AREA.ask("Which form have the unprocessed items of a batch that was processed?", "empty", _BATCH, BACKLOG)
def batch_write_unprocessed(lab: Lab) -> str:
    puts = [{"PutRequest": {"Item": item(lab.key())}} for _ in range(3)]
    answer = lab.db.batch_write_item(RequestItems={lab.plain(): puts})
    return "empty" if answer.get("UnprocessedItems") == {} else f"{answer.get('UnprocessedItems')}"


@AREA.ask("Does a batch take 25 puts?", "25 written", _BATCH, VIEWS)
def batch_write_full(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.db.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item(pk, f"{n:02d}")}} for n in range(25)]})
    return f"{len(lab.held(table, pk))} written"


@AREA.ask(
    "Is a batch of 26 puts refused?",
    "ValidationException",
    _BATCH,
    VIEWS,
    hidden("accepted", "a batch that AWS refuses passes here; Meridian sends 25 at most"),
)
def batch_write_too_many(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    puts = [{"PutRequest": {"Item": item(pk, f"{n:02d}")}} for n in range(26)]
    return outcome(lambda: lab.db.batch_write_item(RequestItems={table: puts}))


@AREA.ask(
    "Are two puts of one key in a batch refused?",
    "ValidationException",
    _BATCH,
    VIEWS,
    hidden("accepted", "a batch that AWS refuses passes here; Meridian sends each key once"),
)
def batch_write_same_key(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    puts = [{"PutRequest": {"Item": item(pk, value=value)}} for value in "ab"]
    return outcome(lambda: lab.db.batch_write_item(RequestItems={table: puts}))


# -- transactions -------------------------------------------------------------------------------------------------


def _puts(table: str, pk: str, count: int) -> list[dict[str, Any]]:
    return [{"Put": {"TableName": table, "Item": item(pk, f"{n:03d}", value="a")}} for n in range(count)]


def _transact(lab: Lab, *items: dict[str, Any], **more: Any) -> Any:
    return refused(lambda: lab.db.transact_write_items(TransactItems=list(items), **more))


@AREA.ask("Does a failed condition check cancel a transaction?", "nothing", _TRANSACTIONS, CLAIMS)
def check_cancels(lab: Lab) -> str:
    table, pk, guard = lab.plain(), lab.key(), lab.key()
    lab.put(table, guard, value="closed")
    _transact(lab, *_puts(table, pk, 1), {"ConditionCheck": {"TableName": table, "Key": item(guard), **_is("open")}})
    return _value(lab, table, pk)


@AREA.ask(
    "Which reasons has a transaction whose second item fails?", "None, ConditionalCheckFailed, None", _TRANSACT, CLAIMS
)
def write_reasons(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, "001", value="a")
    puts = _puts(table, pk, 3)
    puts[1]["Put"]["ConditionExpression"] = _NEW
    return reasons(_transact(lab, *puts))


@AREA.ask(
    "Does a reason hold the item on request?",
    "a",
    _TRANSACT,
    CLAIMS,
    harmless("no item", "Meridian reads the items itself"),
)
def write_reason_item(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, "000", value="a")
    (put,) = _puts(table, pk, 1)
    put["Put"].update(ConditionExpression=_NEW, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    error = _transact(lab, put)
    found = (error.response.get("CancellationReasons") or [{}])[0].get("Item")
    return found["value"]["S"] if found else "no item"


@AREA.ask("Is nothing of a cancelled TransactWriteItems written?", "a", _TRANSACTIONS, CLAIMS)
def write_atomic(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, "002", value="a")
    puts = _puts(table, pk, 3)
    puts[2]["Put"]["ConditionExpression"] = _NEW
    _transact(lab, *puts)
    return _value(lab, table, pk)


@AREA.ask("Has a repeated request with its token one effect?", "accepted; 1", _TRANSACTIONS, VIEWS)
def token_repeated(lab: Lab) -> str:
    table, pk, token = lab.plain(), lab.key(), lab.key()[-36:]
    add = {
        "Update": {
            "TableName": table,
            "Key": item(pk),
            "UpdateExpression": "ADD amount :n",
            "ExpressionAttributeValues": {":n": {"N": "1"}},
        }
    }
    _transact(lab, add, ClientRequestToken=token)
    error = _transact(lab, add, ClientRequestToken=token)
    return f"{'refused' if error else 'accepted'}; {lab.held(table, pk)[0]['amount']['N']}"


@AREA.ask(
    "Is a token with another request refused?",
    "IdempotentParameterMismatchException",
    _TRANSACTIONS,
    VIEWS,
    hidden("accepted", "a mistake in the use of tokens would not be found; Meridian draws a new one for each request"),
)
def token_mismatch(lab: Lab) -> str:
    table, pk, token = lab.plain(), lab.key(), lab.key()[-36:]
    one, two = _puts(table, pk, 2)
    _transact(lab, one, ClientRequestToken=token)
    return outcome(lambda: lab.db.transact_write_items(TransactItems=[two], ClientRequestToken=token))


@AREA.ask("Are two writes of one item in a transaction refused?", "ValidationException", _TRANSACTIONS, CLAIMS, _REFUSED)
def write_same_item(lab: Lab) -> str:
    put = _puts(lab.plain(), lab.key(), 1)
    return outcome(lambda: lab.db.transact_write_items(TransactItems=[*put, *put]))


@AREA.ask("Does TransactWriteItems take 100 items?", "100 written", _TRANSACT, CLAIMS)
def write_full(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.db.transact_write_items(TransactItems=_puts(table, pk, 100))
    return f"{len(lab.held(table, pk))} written"


@AREA.ask(
    "Are 101 items in TransactWriteItems refused?",
    "ValidationException",
    _TRANSACT,
    CLAIMS,
    hidden("accepted", "a transaction that AWS refuses passes here; Meridian sends 100 items at most"),
)
def write_too_many(lab: Lab) -> str:
    items = _puts(lab.plain(), lab.key(), 101)
    return outcome(lambda: lab.db.transact_write_items(TransactItems=items))


@AREA.ask(
    "Does a transactional read show an absent item as an empty answer?",
    "found, empty",
    f"{API}API_TransactGetItems.html",
    CLAIMS,
)
def read_absent(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, "1", value="a")
    gets = [{"Get": {"TableName": table, "Key": item(pk, sk)}} for sk in "12"]
    answer = lab.db.transact_get_items(TransactItems=gets)["Responses"]
    return ", ".join("found" if each.get("Item") else "empty" for each in answer)


@AREA.ask(
    "Does concurrent addition lose nothing?", "40", _UPDATE, VIEWS, unsafe("*", "concurrent updates of an item are lost")
)
def update_concurrent(lab: Lab) -> str:
    from concurrent.futures import ThreadPoolExecutor

    table, pk = lab.plain(), lab.key()

    def add(_: int) -> None:
        lab.db.update_item(
            TableName=table, Key=item(pk), UpdateExpression="ADD amount :n", ExpressionAttributeValues={":n": {"N": "1"}}
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(40)))
    return str(lab.held(table, pk)[0]["amount"]["N"])


@AREA.ask(
    "Of 8 concurrent INSERTs of one key, how many are accepted?", "1", f"{DEVELOPER_GUIDE}ql-reference.insert.html", CLAIMS
)
def insert_concurrent(lab: Lab) -> str:
    from concurrent.futures import ThreadPoolExecutor

    from chaos.conform.partiql import insert

    table, pk = lab.plain(), lab.key()
    with ThreadPoolExecutor(8) as pool:
        told = pool.map(lambda n: outcome(lambda: lab.db.execute_statement(**insert(table, pk, value=str(n)))), range(8))
        return str(list(told).count("accepted"))
