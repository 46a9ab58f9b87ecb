"""List prices of us-east-1 in US dollars, without free tiers. As AWS's price pages had them in 2025; yours may differ."""

from __future__ import annotations

from dataclasses import dataclass

_PAGES = {
    "dynamodb": "https://aws.amazon.com/dynamodb/pricing/",
    "lambda": "https://aws.amazon.com/lambda/pricing/",
    "kinesis": "https://aws.amazon.com/kinesis/data-streams/pricing/",
    "cloudwatch": "https://aws.amazon.com/cloudwatch/pricing/",
    "ec2": "https://aws.amazon.com/ec2/pricing/on-demand/",
    "sqs": "https://aws.amazon.com/sqs/pricing/",
    "kms": "https://aws.amazon.com/kms/pricing/",
}


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for so many of a unit."""

    dollars: float
    per: float
    unit: str
    page: str

    def of(self, quantity: float) -> float:
        return quantity / self.per * self.dollars

    @property
    def source(self) -> str:
        return _PAGES[self.page]


HOURS = 730.0
SECONDS = HOURS * 3600
_M = 1e6

WRITE = Price(0.625, _M, "million write request units", "dynamodb")
READ = Price(0.125, _M, "million read request units", "dynamodb")
WRITE_IA = Price(0.78, _M, "million write request units, Standard-IA", "dynamodb")
READ_IA = Price(0.155, _M, "million read request units, Standard-IA", "dynamodb")
WRITE_HOUR = Price(0.00065, 1, "write capacity unit and hour", "dynamodb")
READ_HOUR = Price(0.00013, 1, "read capacity unit and hour", "dynamodb")
REPLICATED_WRITE = Price(0.625, _M, "million replicated write request units (global tables)", "dynamodb")
STORED = Price(0.25, 1, "GB and month", "dynamodb")
STORED_IA = Price(0.10, 1, "GB and month, Standard-IA", "dynamodb")
BACKUP = Price(0.20, 1, "GB and month of point-in-time recovery", "dynamodb")
CHANGE = Price(0.10, _M, "million change data capture units for Kinesis", "dynamodb")
INVOCATION = Price(0.20, _M, "million invocations", "lambda")
GB_SECOND = Price(0.0000133334, 1, "GB second, arm64", "lambda")
STREAM_HOUR = Price(0.04, 1, "on-demand stream and hour", "kinesis")
STREAM_IN = Price(0.08, 1, "GB into an on-demand stream", "kinesis")
LOG = Price(0.50, 1, "GB of logs", "cloudwatch")
METRIC = Price(0.30, 1, "metric and month", "cloudwatch")
ALARM = Price(0.10, 1, "metric of an alarm and month", "cloudwatch")
COMPOSITE = Price(0.50, 1, "composite alarm and month", "cloudwatch")
DASHBOARD = Price(3.00, 1, "dashboard and month", "cloudwatch")
TRANSFER = Price(0.02, 1, "GB from us-east-1 to another region", "ec2")
MESSAGE = Price(0.40, _M, "million SQS requests", "sqs")
KEY = Price(1.00, 1, "key and month", "kms")

ALL = (
    WRITE, READ, WRITE_IA, READ_IA, WRITE_HOUR, READ_HOUR, REPLICATED_WRITE, STORED, STORED_IA, BACKUP, CHANGE, INVOCATION,
    GB_SECOND, STREAM_HOUR, STREAM_IN, LOG, METRIC, ALARM, COMPOSITE, DASHBOARD, TRANSFER, MESSAGE, KEY,
)  # fmt: skip
