"""Probes of event source mappings: how a table's stream reaches functions. Emulators only: probes make no role in an
account."""

from __future__ import annotations

import io
import json
import time
import zipfile
from typing import Any

from botocore.exceptions import ClientError

from chaos.conform import queues
from chaos.conform.lab import Lab, NotOffered, code_of, item
from chaos.conform.probe import Area, hidden, unsafe
from chaos.conform.promises import ALONE, BACKLOG, COST, PREFIX

AREA = Area("mappings", ("dynamodb", "dynamodbstreams", "lambda"))

_GUIDE = "https://docs.aws.amazon.com/lambda/latest/dg/"
_STREAM = f"{_GUIDE}with-ddb.html"
_PARTIAL = f"{_GUIDE}services-ddb-batchfailurereporting.html"
_RETRIES = f"{_GUIDE}services-ddb-errors.html"
_PARAMETERS = f"{_GUIDE}services-ddb-params.html"
_FILTER = f"{_GUIDE}with-ddb-filtering.html"
_SECONDS = 12.0
"""Seconds within which a mapping does the next thing."""
_CODE = """
import json, os, time, urllib.request
HEADERS = {
    "X-Amz-Target": "DynamoDB_20120810.PutItem", "Content-Type": "application/x-amz-json-1.0",
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/" + os.environ["PLACE"]
        + "/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
}
def handler(event, context):
    records = event.get("Records", [])
    names = [each["dynamodb"]["Keys"]["sk"]["S"] for each in records]
    if records:
        item = {"pk": {"S": "calls"}, "sk": {"S": str(time.time_ns())}, "names": {"S": json.dumps(names)}}
        body = json.dumps({"TableName": os.environ["NOTES"], "Item": item}).encode()
        urllib.request.urlopen(urllib.request.Request(os.environ["ENDPOINT"], body, HEADERS), timeout=10).read()
    bad = [each for each in records if each["dynamodb"]["Keys"]["sk"]["S"].endswith("bad")]
    if bad and os.environ["MODE"] == "raise":
        raise ValueError("a bad record")
    failed = [{"itemIdentifier": each["dynamodb"]["SequenceNumber"]} for each in bad]
    return {"batchItemFailures": failed if os.environ["MODE"] == "item" else []}
"""
"""Function that notes the sort keys of every batch, and fails for those that end with `bad`: as a whole, or by item."""


def _function(lab: Lab, notes: str, mode: str) -> str:
    """Create a function; return its name once it is active. Raises NotOffered where functions do not run."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("probe.py", _CODE)
    client, name = lab.client("lambda"), lab.name()
    variables = {"NOTES": notes, "MODE": mode, "ENDPOINT": str(lab.endpoint), "PLACE": lab.region}
    lab.later(f"function {name}", lambda: client.delete_function(FunctionName=name))
    client.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/probe",
        Handler="probe.handler",
        Code={"ZipFile": package.getvalue()},
        Environment={"Variables": variables},
        Timeout=30,
    )

    def state() -> str:
        found = client.get_function_configuration(FunctionName=name).get("State", "Active")
        return "" if found == "Pending" else str(found)

    if lab.until(state) != "Active":
        raise NotOffered("lambda (functions do not run here)")
    return name


def _runs(lab: Lab) -> None:
    """Raise NotOffered unless the endpoint runs functions."""

    def look() -> bool:
        try:
            answer = lab.client("lambda").invoke(FunctionName=_function(lab, lab.plain(), "ok"), Payload=b"{}")
        except ClientError as error:
            raise NotOffered(f"lambda (functions do not run here: {code_of(error)})") from None
        if answer.get("FunctionError") or answer["StatusCode"] != 200:
            raise NotOffered("lambda (functions do not run here)")
        return True

    if lab.endpoint is None:
        raise NotOffered("lambda (probes make no role in an account)")
    lab.shared("functions", look)


class _Mapping:
    """A table with a stream that a mapping reads for a function, and the batches that the function got."""

    def __init__(self, lab: Lab, mode: str, *names: str, **parameters: Any) -> None:
        _runs(lab)
        self._lab = lab
        self._notes = lab.create()
        self.table = lab.create(StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
        puts = [{"PutRequest": {"Item": item("lane", name)}} for name in names]
        lab.db.batch_write_item(RequestItems={self.table: puts})
        client = lab.client("lambda")
        made = client.create_event_source_mapping(
            FunctionName=_function(lab, self._notes, mode),
            EventSourceArn=lab.active(self.table)["LatestStreamArn"],
            StartingPosition="TRIM_HORIZON",
            BatchSize=10,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            **parameters,
        )
        lab.later("mapping", lambda: client.delete_event_source_mapping(UUID=made["UUID"]))

    def batches(self) -> list[list[str]]:
        return [json.loads(each["names"]["S"]) for each in self._lab.held(self._notes, "calls")]

    def until(self, done: Any, seconds: float = _SECONDS * 2) -> list[list[str]]:
        """Return the batches once they are as they should be, or after some time."""
        end = time.monotonic() + seconds
        while not done(found := self.batches()) and time.monotonic() < end and not self._lab.stopped.is_set():
            self._lab.pause(0.2)
        return found


def _having(batches: list[list[str]], name: str) -> int:
    return sum(name in batch for batch in batches)


@AREA.ask("Does a function get a lane's records in order?", "1, 2, 3", _STREAM, PREFIX)
def mapping_delivers(lab: Lab) -> str:
    mapping = _Mapping(lab, "ok", "1", "2", "3")
    found = mapping.until(lambda batches: sum(map(len, batches)) >= 3)
    return ", ".join(name for batch in found for name in batch) or "nothing"


@AREA.ask(
    "From where on come records again after batchItemFailures?",
    "from the failed one on",
    _PARTIAL,
    COST,
    hidden("from the first on", "what a function did not fail comes again here; it is stored once all the same"),
    unsafe("not again", "an event that a function reports as failed never comes again"),
)
def mapping_item_failures(lab: Lab) -> str:
    mapping = _Mapping(lab, "item", "1", "2-bad", "3", MaximumRetryAttempts=2)
    found = mapping.until(lambda batches: _having(batches, "2-bad") > 1, _SECONDS)
    if _having(found, "2-bad") < 2:
        return "not again" if found else "nothing came"
    return "from the first on" if _having(found, "1") > 1 else "from the failed one on"


@AREA.ask(
    "How often is a batch tried with two retries?",
    "3 times",
    _PARAMETERS,
    ALONE,
    hidden("more than 3 times", "a batch that fails for ever blocks its shard here, and never reaches the redrive"),
    unsafe("1 times", "a batch is given up without a retry"),
)
def mapping_retries(lab: Lab) -> str:
    mapping = _Mapping(lab, "raise", "1-bad", MaximumRetryAttempts=2)
    mapping.until(lambda batches: _having(batches, "1-bad") >= 3)
    found = mapping.until(lambda batches: _having(batches, "1-bad") > 3, _SECONDS / 2)
    tries = _having(found, "1-bad")
    return "more than 3 times" if tries > 3 else f"{tries} times"


@AREA.ask(
    "Is a failing batch halved?",
    "the good one comes alone",
    _PARAMETERS,
    ALONE,
    hidden("not halved", "a good event beside a bad one waits for the redrive here"),
)
def mapping_bisect(lab: Lab) -> str:
    mapping = _Mapping(lab, "raise", "1", "2-bad", MaximumRetryAttempts=5, BisectBatchOnFunctionError=True)
    found = mapping.until(lambda batches: ["1"] in batches, _SECONDS)
    return "the good one comes alone" if ["1"] in found else "not halved"


@AREA.ask("Does a filter keep records from the function?", "2", _FILTER, COST, hidden("1, 2", "filters do nothing here"))
def mapping_filter(lab: Lab) -> str:
    pattern = json.dumps({"dynamodb": {"Keys": {"sk": {"S": ["2"]}}}})
    mapping = _Mapping(lab, "ok", "1", "2", FilterCriteria={"Filters": [{"Pattern": pattern}]})
    found = mapping.until(lambda batches: _having(batches, "2"))
    return ", ".join(sorted(name for batch in found for name in batch)) or "nothing"


@AREA.ask(
    "Is a batch that is given up reported to the destination?",
    "reported",
    _RETRIES,
    BACKLOG,
    hidden("not reported", "what a mapping gives up is not redriven here; `verify` finds it"),
)
def mapping_destination(lab: Lab) -> str:
    lab.require(("sqs",))
    url = queues.queue(lab)
    destination = {"OnFailure": {"Destination": queues.arn(lab, url)}}
    _Mapping(lab, "raise", "1-bad", MaximumRetryAttempts=0, DestinationConfig=destination)
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and not lab.stopped.is_set():
        if lab.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages"):
            return "reported"
    return "not reported"


@AREA.ask("Does the mapping keep its parameters?", "kept", _PARAMETERS, ALONE)
def mapping_parameters(lab: Lab) -> str:
    sent = {"MaximumRetryAttempts": 4, "BisectBatchOnFunctionError": True, "MaximumRecordAgeInSeconds": 3600}
    _Mapping(lab, "ok", "1", **sent)
    mappings = lab.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    kept = [each for each in mappings if all(each.get(name) == value for name, value in sent.items())]
    return "kept" if kept else "lost"
