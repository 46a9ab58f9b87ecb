"""Probes of tables: identity, protection, states, backups, policies."""

from __future__ import annotations

import json
from typing import Any

from chaos.conform.lab import Lab, outcome
from chaos.conform.probe import API, DEVELOPER_GUIDE, Area, harmless, hidden
from chaos.conform.promises import ACKNOWLEDGED, ALONE, OWNER, PREFIX, RESTORED

AREA = Area("tables")

_DESCRIBE = f"{API}API_DescribeTable.html"
_TABLE = f"{API}API_TableDescription.html"
_CREATE = f"{API}API_CreateTable.html"
_BACKUPS = f"{DEVELOPER_GUIDE}PointInTimeRecovery.html"
_POLICY = f"{DEVELOPER_GUIDE}access-control-resource-based.html"


@AREA.ask(
    "Has a table an identity?",
    "TableId",
    _TABLE,
    RESTORED,
    harmless("CreationDateTime", "Meridian goes by the time of creation where there is no TableId"),
)
def table_id(lab: Lab) -> str:
    found = lab.active(lab.plain())
    return "TableId" if found.get("TableId") else "CreationDateTime" if found.get("CreationDateTime") else "nothing"


@AREA.ask("Has a recreated table another identity?", "another", _TABLE, RESTORED)
def table_recreated(lab: Lab) -> str:
    table = lab.create()
    one = lab.active(table)
    lab.drop(table)
    described = ("KeySchema", "AttributeDefinitions")
    lab.later(f"table {table}", lambda: lab.drop(table))
    lab.db.create_table(TableName=table, BillingMode="PAY_PER_REQUEST", **{name: one[name] for name in described})
    two = lab.active(table)
    if one.get("TableId") and two.get("TableId"):
        return "another" if one["TableId"] != two["TableId"] else "the same"
    return "another" if one["CreationDateTime"] != two["CreationDateTime"] else "the same"


@AREA.ask("Is a recreated table empty?", "no items", _CREATE, RESTORED)
def table_recreated_empty(lab: Lab) -> str:
    table, pk = lab.create(), lab.key()
    lab.put(table, pk)
    one = lab.active(table)
    lab.drop(table)
    described = ("KeySchema", "AttributeDefinitions")
    lab.later(f"table {table}", lambda: lab.drop(table))
    lab.db.create_table(TableName=table, BillingMode="PAY_PER_REQUEST", **{name: one[name] for name in described})
    lab.active(table)
    return "items" if lab.held(table, pk) else "no items"


@AREA.ask("What answers DescribeTable of a table that is not there?", "ResourceNotFoundException", _DESCRIBE, RESTORED)
def table_absent(lab: Lab) -> str:
    return outcome(lambda: lab.db.describe_table(TableName=f"{lab.prefix}-absent"))


@AREA.ask(
    "What answers a read of a table that is not there?", "ResourceNotFoundException", f"{API}API_GetItem.html", RESTORED
)
def table_absent_read(lab: Lab) -> str:
    return outcome(lambda: lab.held(f"{lab.prefix}-absent", "a"))


@AREA.ask("What refuses the creation of a table that exists?", "ResourceInUseException", _CREATE, ALONE)
def table_exists(lab: Lab) -> str:
    key = {"KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}
    names = {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}]}
    return outcome(lambda: lab.db.create_table(TableName=lab.plain(), BillingMode="PAY_PER_REQUEST", **key, **names))


@AREA.ask(
    "Is a table's billing mode as it was asked for?",
    "PAY_PER_REQUEST",
    _TABLE,
    ALONE,
    harmless("*", "Meridian does not read it"),
)
def table_billing(lab: Lab) -> str:
    return str(lab.active(lab.plain()).get("BillingModeSummary", {}).get("BillingMode", "not said"))


@AREA.ask("Is the stream's ARN in the description of a table with a stream?", "LatestStreamArn", _TABLE, PREFIX)
def table_stream_arn(lab: Lab) -> str:
    images = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    table = lab.shared("new images", lambda: lab.create(StreamSpecification=images))
    return "LatestStreamArn" if lab.active(table).get("LatestStreamArn") else "nothing"


@AREA.ask("Has a table without a stream no stream's ARN?", "nothing", _TABLE, PREFIX)
def table_without_stream(lab: Lab) -> str:
    return "LatestStreamArn" if lab.active(lab.plain()).get("LatestStreamArn") else "nothing"


def _protected(lab: Lab) -> str:
    """Return a table that is protected from deletion."""
    table = lab.create(DeletionProtectionEnabled=True)
    lab.later(f"protection of {table}", lambda: lab.db.update_table(TableName=table, DeletionProtectionEnabled=False))
    return table


@AREA.ask(
    "Is the deletion of a protected table refused?",
    "ValidationException",
    f"{DEVELOPER_GUIDE}WorkingWithTables.Basics.html#WorkingWithTables.Basics.DeletionProtection",
    ACKNOWLEDGED,
    harmless("ResourceInUseException", "refused all the same"),
    hidden("accepted", "a protected table is deleted here; its protection can be shown on AWS alone"),
)
def table_protected(lab: Lab) -> str:
    table = _protected(lab)
    return outcome(lambda: lab.db.delete_table(TableName=table))


@AREA.ask(
    "Does the description show the protection?",
    "protected",
    _TABLE,
    ACKNOWLEDGED,
    hidden("not shown", "protection can be shown on AWS alone"),
)
def table_protection_shown(lab: Lab) -> str:
    return "protected" if lab.active(_protected(lab)).get("DeletionProtectionEnabled") else "not shown"


@AREA.ask("Does a new index get the items that are there?", "1 item", f"{DEVELOPER_GUIDE}GSI.OnlineOps.html", PREFIX)
def index_backfill(lab: Lab) -> str:
    table, begins = lab.create(), lab.key()
    lab.put(table, "a", begins=begins)
    lab.db.update_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "begins")],
        GlobalSecondaryIndexUpdates=[
            {
                "Create": {
                    "IndexName": "late",
                    "KeySchema": [{"AttributeName": "begins", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            }
        ],
    )
    lab.active(table)
    request = {"KeyConditionExpression": "begins = :b", "ExpressionAttributeValues": {":b": {"S": begins}}}
    found = lab.until(lambda: lab.db.query(TableName=table, IndexName="late", **request)["Items"])
    return f"{len(found)} item"


# -- backups ------------------------------------------------------------------------------------------------------


def _recovery(lab: Lab, table: str) -> str:
    found = lab.db.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    return str(found["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"])


def _recoverable(lab: Lab) -> str:
    def make() -> str:
        table = lab.create()
        lab.put(table, "a")
        lab.db.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        return table

    return lab.shared("recoverable", make)


@AREA.ask("Is point-in-time recovery of a new table off?", "DISABLED", _BACKUPS, RESTORED)
def recovery_off(lab: Lab) -> str:
    return _recovery(lab, lab.create())


@AREA.ask("Is point-in-time recovery on after it was switched on?", "ENABLED", _BACKUPS, RESTORED)
def recovery_on(lab: Lab) -> str:
    return _recovery(lab, _recoverable(lab))


def _restored(lab: Lab) -> dict[str, Any]:
    def make() -> dict[str, Any]:
        table, copy = _recoverable(lab), lab.name()
        lab.later(f"table {copy}", lambda: lab.drop(copy))
        lab.db.restore_table_to_point_in_time(SourceTableName=table, TargetTableName=copy, UseLatestRestorableTime=True)
        return {"source": lab.active(table), "copy": dict(lab.active(copy))}

    if lab.endpoint is None:  # half an hour on AWS: not in a run of minutes
        return {}
    return lab.shared("restored", make)


_NOT_THERE = hidden("not tried", "a restore on AWS takes longer than a run of probes")


@AREA.ask("Is a restored table another table?", "another TableId, no stream", _BACKUPS, RESTORED, _NOT_THERE)
def restored_identity(lab: Lab) -> str:
    found = _restored(lab)
    if not found:
        return "not tried"
    same = found["source"].get("TableId") == found["copy"].get("TableId")
    stream = "a stream" if found["copy"].get("LatestStreamArn") else "no stream"
    return f"{'the same' if same else 'another'} TableId, {stream}"


@AREA.ask(
    "Has a restored table the items?",
    "1 item",
    _BACKUPS,
    RESTORED,
    _NOT_THERE,
    hidden("0 item", "restores can be shown on AWS alone"),
)
def restored_items(lab: Lab) -> str:
    found = _restored(lab)
    return f"{len(lab.held(found['copy']['TableName'], 'a'))} item" if found else "not tried"


@AREA.ask(
    "Is a restore refused where recovery is off?",
    "PointInTimeRecoveryUnavailableException",
    f"{API}API_RestoreTableToPointInTime.html",
    RESTORED,
    hidden("accepted", "what AWS refuses passes here"),
)
def restore_without_recovery(lab: Lab) -> str:
    copy = lab.name()
    lab.later(f"table {copy}", lambda: lab.drop(copy))
    source = lab.plain()
    request = {"SourceTableName": source, "TargetTableName": copy, "UseLatestRestorableTime": True}
    return outcome(lambda: lab.db.restore_table_to_point_in_time(**request))


# -- policies, tags -----------------------------------------------------------------------------------------------


@AREA.ask("Is a resource policy kept?", "kept", _POLICY, OWNER)
def policy_kept(lab: Lab) -> str:
    table = lab.create()
    arn = lab.active(table)["TableArn"]
    statement = {"Effect": "Deny", "Principal": "*", "Action": "dynamodb:DeleteItem", "Resource": arn}
    lab.db.put_resource_policy(ResourceArn=arn, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    found = lab.until(lambda: lab.db.get_resource_policy(ResourceArn=arn).get("Policy"))
    return "kept" if json.loads(found)["Statement"] in ([statement], statement) else "changed"


@AREA.ask(
    "What answers GetResourcePolicy where there is no policy?",
    "PolicyNotFoundException",
    f"{API}API_GetResourcePolicy.html",
    OWNER,
    harmless("*", "Meridian's commands read no policies"),
)
def policy_absent(lab: Lab) -> str:
    arn = lab.active(lab.create())["TableArn"]
    return outcome(lambda: lab.db.get_resource_policy(ResourceArn=arn))


@AREA.ask("Are tags kept?", "kept", f"{API}API_TagResource.html", ALONE, harmless("*", "Meridian reads no tags"))
def tags_kept(lab: Lab) -> str:
    table = lab.create(Tags=[{"Key": "meridian", "Value": "conform"}])
    arn = lab.active(table)["TableArn"]
    found = lab.db.list_tags_of_resource(ResourceArn=arn)["Tags"]
    return "kept" if found == [{"Key": "meridian", "Value": "conform"}] else "lost"
