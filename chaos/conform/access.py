"""Probes of access by policy: only the region of a lane writes it. Endpoints that enforce no policies do not offer this."""

from __future__ import annotations

import json
from typing import Any

import boto3

from chaos.conform.lab import Lab, NotOffered, item, outcome
from chaos.conform.partiql import insert
from chaos.conform.probe import Area
from chaos.conform.promises import FORK, OWNER

AREA = Area("access", ("dynamodb", "sts"))

_CONDITIONS = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html"
_PARTIQL = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-iam.html"


def _limited(lab: Lab) -> Any:
    """Return a client that may only INSERT under keys that begin with its prefix. Raises NotOffered where it may all."""

    def make() -> Any:
        table = lab.active(lab.plain())["TableArn"]
        statement = {
            "Effect": "Allow",
            "Action": ["dynamodb:PartiQLInsert"],
            "Resource": table,
            "Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["us-east-1#*"]}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        found = lab.client("sts").get_federation_token(Name="conform", Policy=policy, DurationSeconds=900)["Credentials"]
        client: Any = boto3.client(
            "dynamodb",
            region_name=lab.region,
            endpoint_url=lab.endpoint,
            aws_access_key_id=found["AccessKeyId"],
            aws_secret_access_key=found["SecretAccessKey"],
            aws_session_token=found["SessionToken"],
        )
        if outcome(lambda: client.list_tables(Limit=1)) == "accepted":  # the policy does not allow that
            raise NotOffered("iam (policies are not enforced)")
        return client

    return lab.shared("limited", make)


@AREA.ask("May a writer INSERT under its own prefix?", "accepted", _CONDITIONS, OWNER)
def access_own_prefix(lab: Lab) -> str:
    client = _limited(lab)
    return outcome(lambda: client.execute_statement(**insert(lab.plain(), f"us-east-1#{lab.key()}")))


@AREA.ask("May a writer INSERT under another prefix?", "AccessDeniedException", _CONDITIONS, OWNER)
def access_other_prefix(lab: Lab) -> str:
    client = _limited(lab)
    return outcome(lambda: client.execute_statement(**insert(lab.plain(), f"eu-west-1#{lab.key()}")))


@AREA.ask("May a writer that may INSERT replace an item by a put?", "AccessDeniedException", _PARTIQL, FORK)
def access_put(lab: Lab) -> str:
    client = _limited(lab)
    return outcome(lambda: client.put_item(TableName=lab.plain(), Item=item(f"us-east-1#{lab.key()}")))


@AREA.ask("May a writer that may INSERT delete an item?", "AccessDeniedException", _PARTIQL, FORK)
def access_delete(lab: Lab) -> str:
    client = _limited(lab)
    return outcome(lambda: client.delete_item(TableName=lab.plain(), Key=item(f"us-east-1#{lab.key()}")))
