"""Probes of the capacity that an engine reports: what Meridian's figures of cost are measured by."""

from __future__ import annotations

from typing import Any

from chaos.conform.lab import INDEX, Lab, item
from chaos.conform.partiql import exists, insert
from chaos.conform.probe import DEVELOPER_GUIDE, Area, hidden
from chaos.conform.promises import COST

AREA = Area("capacity")

_UNITS = f"{DEVELOPER_GUIDE}read-write-operations.html"
_TRANSACTIONS = f"{DEVELOPER_GUIDE}transaction-apis.html#transaction-capacity-handling"
_INDEX = f"{DEVELOPER_GUIDE}GSI.html#GSI.ThroughputConsiderations"
_OTHER = hidden("*", "a cost that is measured here is not AWS's; docs/cost.md reckons it by items and sizes")
_TOTAL = {"ReturnConsumedCapacity": "TOTAL"}


def _units(answer: dict[str, Any]) -> str:
    """Return the units of an answer, of all tables together; `none reported` where it has no such part."""
    found = answer.get("ConsumedCapacity")
    parts = found if isinstance(found, list) else [found] if found else []
    return f"{sum(float(each['CapacityUnits']) for each in parts):g}" if parts else "none reported"


def _put(lab: Lab, size: int = 0) -> tuple[str, str]:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="a", x="x" * size)
    return table, pk


@AREA.ask("How many units takes a put of less than 1 KB?", "1", _UNITS, COST, _OTHER)
def units_of_put(lab: Lab) -> str:
    return _units(lab.db.put_item(TableName=lab.plain(), Item=item(lab.key()), **_TOTAL))


@AREA.ask("How many units takes a put of 1.1 KB?", "2", _UNITS, COST, _OTHER)
def units_of_larger_put(lab: Lab) -> str:
    return _units(lab.db.put_item(TableName=lab.plain(), Item=item(lab.key(), x="x" * 1100), **_TOTAL))


@AREA.ask("How many units takes a put with an entry in the index?", "2", _INDEX, COST, _OTHER)
def units_of_indexed_put(lab: Lab) -> str:
    return _units(lab.db.put_item(TableName=lab.plain(), Item=item(lab.key(), begins=lab.key()), **_TOTAL))


@AREA.ask("How many units of them are the index's?", "1", _INDEX, COST, _OTHER)
def units_of_index(lab: Lab) -> str:
    answer = lab.db.put_item(TableName=lab.plain(), Item=item(lab.key(), begins=lab.key()), ReturnConsumedCapacity="INDEXES")
    found = answer.get("ConsumedCapacity", {}).get("GlobalSecondaryIndexes", {}).get(INDEX)
    return f"{found['CapacityUnits']:g}" if found else "none reported"


@AREA.ask("How many units takes an INSERT?", "1", _UNITS, COST, _OTHER)
def units_of_insert(lab: Lab) -> str:
    return _units(lab.db.execute_statement(**insert(lab.plain(), lab.key()), **_TOTAL))


@AREA.ask("How many units takes a batch of three INSERTs?", "3", _UNITS, COST, _OTHER)
def units_of_insert_batch(lab: Lab) -> str:
    statements = [insert(lab.plain(), lab.key()) for _ in range(3)]
    return _units(lab.db.batch_execute_statement(Statements=statements, **_TOTAL))


@AREA.ask("How many units takes a transaction of two INSERTs?", "4", _TRANSACTIONS, COST, _OTHER)
def units_of_insert_transaction(lab: Lab) -> str:
    statements = [insert(lab.plain(), lab.key()) for _ in range(2)]
    return _units(lab.db.execute_transaction(TransactStatements=statements, **_TOTAL))


@AREA.ask("How many units takes a transaction of an INSERT and an EXISTS?", "4", _TRANSACTIONS, COST, _OTHER)
def units_of_guarded_insert(lab: Lab) -> str:
    table, guard = _put(lab)
    statements = [insert(table, lab.key()), exists(table, guard, "a")]
    return _units(lab.db.execute_transaction(TransactStatements=statements, **_TOTAL))


@AREA.ask("How many units takes TransactWriteItems with two puts?", "4", _TRANSACTIONS, COST, _OTHER)
def units_of_transaction(lab: Lab) -> str:
    puts = [{"Put": {"TableName": lab.plain(), "Item": item(lab.key())}} for _ in range(2)]
    return _units(lab.db.transact_write_items(TransactItems=puts, **_TOTAL))


@AREA.ask("How many units takes TransactGetItems of two items?", "4", _TRANSACTIONS, COST, _OTHER)
def units_of_transactional_read(lab: Lab) -> str:
    keys = [_put(lab) for _ in range(2)]
    gets = [{"Get": {"TableName": table, "Key": item(pk)}} for table, pk in keys]
    return _units(lab.db.transact_get_items(TransactItems=gets, **_TOTAL))


@AREA.ask("How many units takes a batch of two puts?", "2", _UNITS, COST, _OTHER)
def units_of_batch_write(lab: Lab) -> str:
    puts = [{"PutRequest": {"Item": item(lab.key())}} for _ in range(2)]
    return _units(lab.db.batch_write_item(RequestItems={lab.plain(): puts}, **_TOTAL))


@AREA.ask("How many units takes a consistent read?", "1", _UNITS, COST, _OTHER)
def units_of_get(lab: Lab) -> str:
    table, pk = _put(lab)
    return _units(lab.db.get_item(TableName=table, Key=item(pk), ConsistentRead=True, **_TOTAL))


@AREA.ask("How many units takes an eventually consistent read?", "0.5", _UNITS, COST, _OTHER)
def units_of_eventual_get(lab: Lab) -> str:
    table, pk = _put(lab)
    return _units(lab.db.get_item(TableName=table, Key=item(pk), **_TOTAL))


@AREA.ask("How many units takes a consistent read of an absent item?", "1", _UNITS, COST, _OTHER)
def units_of_absent_get(lab: Lab) -> str:
    return _units(lab.db.get_item(TableName=lab.plain(), Key=item(lab.key()), ConsistentRead=True, **_TOTAL))


@AREA.ask("How many units takes a consistent batch read of three items?", "3", _UNITS, COST, _OTHER)
def units_of_batch_get(lab: Lab) -> str:
    table = lab.plain()
    keys = [item(_put(lab)[1]) for _ in range(3)]
    return _units(lab.db.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}}, **_TOTAL))


@AREA.ask("How many units takes a consistent batch read of three absent items?", "3", _UNITS, COST, _OTHER)
def units_of_absent_batch_get(lab: Lab) -> str:
    keys = [item(lab.key()) for _ in range(3)]
    return _units(lab.db.batch_get_item(RequestItems={lab.plain(): {"Keys": keys, "ConsistentRead": True}}, **_TOTAL))


@AREA.ask("How many units takes a consistent query of 9 KB?", "3", _UNITS, COST, _OTHER)
def units_of_query(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    for n in range(3):
        lab.put(table, pk, str(n), x="x" * 3000)
    request = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": pk}}}
    return _units(lab.db.query(TableName=table, ConsistentRead=True, **request, **_TOTAL))


@AREA.ask("How many units takes a delete of an absent item?", "1", _UNITS, COST, _OTHER)
def units_of_absent_delete(lab: Lab) -> str:
    return _units(lab.db.delete_item(TableName=lab.plain(), Key=item(lab.key()), **_TOTAL))
