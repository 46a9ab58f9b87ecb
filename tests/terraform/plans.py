"""Policies as a Terraform plan has them, and what IAM decides by them.

The evaluator is ministack's, an implementation of IAM's documented algorithm that knows condition keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document

ACCOUNT = "000000000000"
FUNCTIONS = ("replicator", "catch-up", "redrive", "heartbeat", "publish", "projector", "projector-catch-up", "api")
ROLES = (*FUNCTIONS, "writer", "reader", "operator", "oncall", "worker", "consumer", "caller")


class Plan:
    """The policies of a plan: by role, and the events table's and the bus's own."""

    def __init__(self, changes: list[dict[str, Any]]) -> None:
        self.roles: dict[str, list[dict[str, Any]]] = {role: [] for role in ROLES}
        self.own: dict[str, Any] = {}
        self.bus: dict[str, Any] = {}
        for change in changes:
            after, address = change["change"]["after"], change["address"]
            if change["type"] == "aws_iam_role_policy" and ".kms[" not in address:
                self.roles.setdefault(change["index"], []).append(json.loads(after["policy"]))
            elif change["type"] == "aws_iam_policy":
                self.roles[change["name"]].append(json.loads(after["policy"]))
            elif change["type"] == "aws_dynamodb_resource_policy":
                self.own = json.loads(after["policy"])
            elif change["type"] == "aws_kinesis_resource_policy":
                self.bus = json.loads(after["policy"])

    def decide(
        self, role: str, action: str, resource: str, keys: list[str] | None = None, more: Mapping[str, Any] | None = None
    ) -> str:
        """What IAM says to a request: Allow, Deny or ImplicitDeny. `keys` and `more` are what it can ask of the request."""
        return decide(self.roles[role], action, resource, keys, more)

    def table_says(self, action: str, resource: str) -> str:
        """What the events table's own policy says to anybody, an administrator for example."""
        return decide([{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}, self.own], action, resource)


def decide(
    policies: list[dict[str, Any]],
    action: str,
    resource: str,
    keys: list[str] | None = None,
    more: Mapping[str, Any] | None = None,
    who: str = f"arn:aws:iam::{ACCOUNT}:role/r",
) -> str:
    asked = {**({} if keys is None else {"dynamodb:LeadingKeys": keys}), **(more or {})}
    context = asked | {name.lower(): value for name, value in asked.items()}
    request = EvalContext(who, "AssumedRole", ACCOUNT, action, resource, "us-east-1", service_context=context)
    return evaluate(request, [parse_policy_document(policy) for policy in policies]).decision
