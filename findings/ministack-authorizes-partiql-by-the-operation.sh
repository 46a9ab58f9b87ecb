#!/usr/bin/env bash
# IAM has an action for each kind of PartiQL statement: AWS authorizes an INSERT by dynamodb:PartiQLInsert, whichever operation
# carries it (DynamoDB Developer Guide, "IAM security policies with PartiQL for DynamoDB"). ministack with AUTH=true, which
# judges policies, asks for an action named after the operation instead. So a least-privilege policy that is right on AWS is
# refused there, and what passes there says nothing about AWS: test such policies with an evaluator, not with the server.
#
# Guess before it was run: a role that may dynamodb:PartiQLInsert into a table can insert an item by ExecuteStatement.
# Seen with ministack 1.5.33: AccessDeniedException, "not authorized to perform: dynamodb:ExecuteStatement". The same role's
# GetItem, allowed by dynamodb:GetItem, works.
set -euo pipefail
work="$(mktemp -d)"
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ministack==1.5.33 boto3==1.43.106
port="$("$work/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1
AUTH=true GATEWAY_PORT="$port" BIND_HOST=127.0.0.1 LOG_LEVEL=ERROR TMPDIR="$work" \
  "$work/venv/bin/python" -m ministack >"$work/log" 2>&1 &
server=$!
"$work/venv/bin/python" - "http://127.0.0.1:$port" <<'PY'
import json
import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

url = sys.argv[1]


def client(service, **more):
    return boto3.client(service, endpoint_url=url, **more)


admin = client("dynamodb")
for _ in range(300):
    try:
        admin.list_tables()
        break
    except (BotoCoreError, ClientError):
        time.sleep(0.2)
key = {"AttributeName": "pk"}
admin.create_table(
    TableName="events", BillingMode="PAY_PER_REQUEST", KeySchema=[{**key, "KeyType": "HASH"}],
    AttributeDefinitions=[{**key, "AttributeType": "S"}],
)
trust = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sts:AssumeRole"}
actions = ["dynamodb:PartiQLInsert", "dynamodb:GetItem"]
policy = {"Effect": "Allow", "Action": actions, "Resource": "arn:aws:dynamodb:us-east-1:000000000000:table/events"}


def document(statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


iam = client("iam")
role = iam.create_role(RoleName="writer", AssumeRolePolicyDocument=document(trust))["Role"]["Arn"]
iam.put_role_policy(RoleName="writer", PolicyName="insert", PolicyDocument=document(policy))
keys = client("sts").assume_role(RoleArn=role, RoleSessionName="writer")["Credentials"]
writer = client(
    "dynamodb", aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
    aws_session_token=keys["SessionToken"],
)
writer.get_item(TableName="events", Key={"pk": {"S": "1"}})
print("GetItem: allowed")
try:
    writer.execute_statement(Statement="INSERT INTO \"events\" VALUE {'pk': ?}", Parameters=[{"S": "1"}])
except ClientError as error:
    said = str(error)
else:
    said = "allowed"
print(f"INSERT by ExecuteStatement: {said}")
if "AccessDenied" not in said or "dynamodb:ExecuteStatement" not in said:
    sys.exit("this is not what was seen with ministack 1.5.33")
PY
