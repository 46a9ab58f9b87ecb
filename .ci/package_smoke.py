"""One look at the Lambda package by the Python that runs this: every handler is imported, and one batch is copied to a peer.

    python -I -S -B .ci/package_smoke.py FOLDER

FOLDER is the package, unpacked. Nothing but the standard library and FOLDER is on the path. Both regions are a stub, which
takes every INSERT and finds it again by its partition key.
"""

import importlib
import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOLDER = os.path.realpath(sys.argv[1])
sys.path.insert(0, FOLDER)
HANDLERS = {
    "replicator.handlers": ("replicate", "catch_up", "redrive", "publish"),
    "projectors.handlers": ("project", "catch_up"),
    "projectors.api_handler": ("handler",),
}
TABLE = {
    "TableName": "meridian-events", "TableStatus": "ACTIVE", "TableId": "smoke", "CreationDateTime": 1.0,
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
}  # fmt: skip
INSERT = re.compile(r'INSERT INTO "([^"]+)"')
COLUMN = re.compile(r"'(\w+)': \?")
items = {}  # by table


class Stub(BaseHTTPRequestHandler):
    """A region's DynamoDB: tables, and what was inserted."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        for each in asked.get("Statements", ()):
            if into := INSERT.match(each["Statement"]):
                item = dict(zip(COLUMN.findall(each["Statement"]), each["Parameters"], strict=True))
                items.setdefault(into[1], []).append(item)
        names = [value.get("S") for value in asked.get("ExpressionAttributeValues", {}).values()]
        found = [item for item in items.get(asked.get("TableName"), ()) if item["pk"]["S"] in names]
        said = json.dumps(
            {
                "DescribeTable": {"Table": TABLE},
                "Query": {"Items": found, "Count": len(found), "ScannedCount": len(found)},
                "BatchGetItem": {"Responses": {table: [] for table in asked.get("RequestItems", {})}, "UnprocessedKeys": {}},
                "BatchExecuteStatement": {"Responses": [{} for _ in asked.get("Statements", ())]},
            }.get(operation, {})
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *args):
        pass


def copied_by_the_handler(url):
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
        "MERIDIAN_REGION": "us-east-1", "MERIDIAN_PEERS": "eu-west-1",
        "MERIDIAN_ENDPOINTS": f"us-east-1={url},eu-west-1={url}",
    }  # fmt: skip
    from replicator.domain.clock import Hlc
    from replicator.domain.event import GENESIS, NewEvent, seal
    from replicator.domain.names import LaneId, StreamId
    from replicator.domain.vector import EMPTY
    from replicator.eventstore.event_items import to_item
    from replicator.handlers import replicate

    lane = LaneId("us-east-1", StreamId("order", "17"))
    item = to_item(seal(lane, 1, Hlc(1_700_000_000_000, 0), NewEvent("placed", {"total": 12}), EMPTY, GENESIS))
    keys = {name: item[name] for name in ("pk", "sk")}
    change = {"Keys": keys, "NewImage": item, "SequenceNumber": "100"}
    return replicate({"Records": [{"eventName": "INSERT", "dynamodb": change}]}, None)


def main():
    for module, names in HANDLERS.items():
        found = importlib.import_module(module)
        assert found.__file__.startswith(FOLDER + os.sep), found.__file__
        assert all(callable(getattr(found, name)) for name in names), module
    versions = {}
    for name in ("boto3", "botocore", "urllib3"):
        found = importlib.import_module(name)
        assert found.__file__.startswith(FOLDER + os.sep), found.__file__
        versions[name] = found.__version__
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answer = copied_by_the_handler(f"http://127.0.0.1:{server.server_port}")
    assert answer == {"batchItemFailures": []}, answer
    assert [item["pk"]["S"] for item in items["meridian-events"]] == ["us-east-1#order#17"], items
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    sys.stdout.write(f"Python {sys.version.split()[0]}: 7 handlers, 1 event copied; {said}\n")
    sys.stdout.flush()
    os._exit(0)  # what a function does beside its batch has no engine here, and is not waited for


main()
