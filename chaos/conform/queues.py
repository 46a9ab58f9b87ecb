"""Probes of SQS: pointers of a link's backlog, and dead letters."""

from __future__ import annotations

import json
from typing import Any

from chaos.conform.lab import Lab, outcome
from chaos.conform.probe import Area, harmless, hidden, unsafe
from chaos.conform.promises import ALONE, BACKLOG, PAGES

AREA = Area("queues", ("sqs",))

_GUIDE = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/"
_API = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/"
_VISIBILITY = f"{_GUIDE}sqs-visibility-timeout.html"
_DEAD = f"{_GUIDE}sqs-dead-letter-queues.html"
_DELAY = f"{_GUIDE}sqs-message-timers.html"
_RECEIVE = f"{_API}API_ReceiveMessage.html"
_SEND = f"{_API}API_SendMessage.html"
_BATCH = f"{_API}API_SendMessageBatch.html"
_ATTRIBUTES = f"{_API}API_GetQueueAttributes.html"


def queue(lab: Lab, **attributes: str) -> str:
    """Create a queue; return its URL."""
    sqs = lab.client("sqs")
    url = sqs.create_queue(QueueName=lab.name(), Attributes={"VisibilityTimeout": "300", **attributes})["QueueUrl"]
    lab.later(f"queue {url}", lambda: sqs.delete_queue(QueueUrl=url))
    return str(url)


def arn(lab: Lab, url: str) -> str:
    return str(lab.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def _take(lab: Lab, url: str, wait: int = 1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        lab.client("sqs")
        .receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait, AttributeNames=["All"], MessageAttributeNames=["All"]
        )
        .get("Messages", [])
    )
    return found


def _one(lab: Lab, url: str) -> dict[str, Any]:
    return lab.until(lambda: _take(lab, url))[0]


def _sent(lab: Lab, **attributes: str) -> str:
    url = queue(lab, **attributes)
    lab.client("sqs").send_message(QueueUrl=url, MessageBody="pointers")
    return url


@AREA.ask("Is a message received as it was sent?", "pointers é", _SEND, BACKLOG)
def queue_message(lab: Lab) -> str:
    url = queue(lab)
    lab.client("sqs").send_message(QueueUrl=url, MessageBody="pointers é")
    return str(_one(lab, url)["Body"])


@AREA.ask(
    "Is a received message hidden from others?",
    "hidden",
    _VISIBILITY,
    BACKLOG,
    harmless("received twice", "a span of a lane that is copied twice is stored once"),
)
def queue_hidden(lab: Lab) -> str:
    url = _sent(lab)
    _one(lab, url)
    return "received twice" if _take(lab, url) else "hidden"


@AREA.ask(
    "Does a message come back when its timeout is over?",
    "it comes back",
    _VISIBILITY,
    BACKLOG,
    unsafe("nothing came", "a pointer would be lost with the function that took it"),
)
def queue_comes_back(lab: Lab) -> str:
    url = _sent(lab, VisibilityTimeout="1")
    _one(lab, url)
    return "it comes back" if _one(lab, url) else "nothing"


@AREA.ask(
    "Does a visibility timeout of 0 return a message at once?",
    "it comes back",
    f"{_API}API_ChangeMessageVisibility.html",
    BACKLOG,
)
def queue_made_visible(lab: Lab) -> str:
    url = _sent(lab)
    receipt = _one(lab, url)["ReceiptHandle"]
    lab.client("sqs").change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
    return "it comes back" if _one(lab, url) else "nothing"


@AREA.ask(
    "Is a deleted message gone?",
    "gone",
    f"{_API}API_DeleteMessage.html",
    BACKLOG,
    harmless("it comes back", "a span of a lane that is copied twice is stored once"),
)
def queue_deleted(lab: Lab) -> str:
    url = _sent(lab, VisibilityTimeout="1")
    lab.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=_one(lab, url)["ReceiptHandle"])
    lab.pause(1.2)
    return "it comes back" if _take(lab, url) else "gone"


@AREA.ask(
    "Is the deletion of a message accepted twice?",
    "accepted",
    f"{_API}API_DeleteMessage.html",
    BACKLOG,
    harmless("ReceiptHandleIsInvalid", "Meridian takes this for done"),
)
def queue_deleted_twice(lab: Lab) -> str:
    url = _sent(lab)
    receipt = _one(lab, url)["ReceiptHandle"]
    lab.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=receipt)
    return outcome(lambda: lab.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=receipt))


@AREA.ask("Does the receive count rise?", "1, 2, 3", _RECEIVE, ALONE)
def queue_receive_count(lab: Lab) -> str:
    url, counts = _sent(lab), []
    for _ in range(3):
        message = _one(lab, url)
        counts.append(message["Attributes"]["ApproximateReceiveCount"])
        lab.client("sqs").change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )
    return ", ".join(counts)


def _dead(lab: Lab) -> tuple[str, str]:
    """Receive a message twice from a queue that allows two; return the queue and its dead letter queue."""
    letters = queue(lab)
    redrive = json.dumps({"deadLetterTargetArn": arn(lab, letters), "maxReceiveCount": 2})
    url = queue(lab, RedrivePolicy=redrive)
    lab.client("sqs").send_message(
        QueueUrl=url, MessageBody="pointers", MessageAttributes={"kind": {"DataType": "String", "StringValue": "lane"}}
    )
    for _ in range(2):
        lab.client("sqs").change_message_visibility(
            QueueUrl=url, ReceiptHandle=_one(lab, url)["ReceiptHandle"], VisibilityTimeout=0
        )
    return url, letters


@AREA.ask("Is a message moved to the dead letters after maxReceiveCount?", "pointers", _DEAD, ALONE)
def queue_redrive(lab: Lab) -> str:
    url, letters = _dead(lab)

    def look() -> list[dict[str, Any]]:
        _take(lab, url, 0)
        return _take(lab, letters)

    return str(lab.until(look)[0]["Body"])


@AREA.ask("Does a dead letter keep its attributes?", "lane", _DEAD, ALONE)
def queue_redrive_attributes(lab: Lab) -> str:
    url, letters = _dead(lab)

    def look() -> list[dict[str, Any]]:
        _take(lab, url, 0)
        return _take(lab, letters)

    return str(lab.until(look)[0].get("MessageAttributes", {}).get("kind", {}).get("StringValue", "lost"))


@AREA.ask(
    "Which receive count has a dead letter?",
    "not documented",
    _DEAD,
    ALONE,
    harmless("*", "the page does not say; Meridian counts its own tries in the message"),
)
def queue_redrive_count(lab: Lab) -> str:
    url, letters = _dead(lab)

    def look() -> list[dict[str, Any]]:
        _take(lab, url, 0)
        return _take(lab, letters)

    return str(lab.until(look)[0]["Attributes"]["ApproximateReceiveCount"])


@AREA.ask(
    "Is a delayed message hidden at first, and received later?",
    "hidden, received",
    _DELAY,
    BACKLOG,
    harmless("received at once", "a pointer is tried earlier than need be"),
)
def queue_delay(lab: Lab) -> str:
    url = queue(lab)
    lab.client("sqs").send_message(QueueUrl=url, MessageBody="pointers", DelaySeconds=2)
    if _take(lab, url, 0):
        return "received at once"
    return "hidden, received" if _one(lab, url) else "lost"


@AREA.ask("Are waiting, delayed and taken messages counted?", "1 waiting, 1 delayed, 1 taken", _ATTRIBUTES, PAGES)
def queue_depth(lab: Lab) -> str:
    sqs, url = lab.client("sqs"), _sent(lab)
    _one(lab, url)
    sqs.send_message(QueueUrl=url, MessageBody="delayed", DelaySeconds=600)
    sqs.send_message(QueueUrl=url, MessageBody="waiting")
    names = [f"ApproximateNumberOfMessages{part}" for part in ("", "Delayed", "NotVisible")]

    def look() -> dict[str, str] | None:
        found: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return found if sum(map(int, found.values())) >= 3 else None

    found = lab.until(look)
    return "{} waiting, {} delayed, {} taken".format(*(found[name] for name in names))


@AREA.ask(
    "Is a batch of 11 messages refused?",
    "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
    _BATCH,
    BACKLOG,
    hidden("accepted", "what AWS refuses passes here; Meridian sends each message alone"),
    harmless("*TooManyEntries*", "the same error by another name"),
)
def queue_batch_too_many(lab: Lab) -> str:
    url = queue(lab)
    entries = [{"Id": str(n), "MessageBody": "x"} for n in range(11)]
    return outcome(lambda: lab.client("sqs").send_message_batch(QueueUrl=url, Entries=entries))


@AREA.ask("Is a message of 200 KB accepted?", "accepted", _SEND, BACKLOG)
def queue_large(lab: Lab) -> str:
    url = queue(lab)
    return outcome(lambda: lab.client("sqs").send_message(QueueUrl=url, MessageBody="x" * 200_000))


@AREA.ask(
    "What answers a queue that is not there?",
    "AWS.SimpleQueueService.NonExistentQueue",
    f"{_API}API_GetQueueUrl.html",
    PAGES,
    harmless("QueueDoesNotExist", "the same error by another name"),
)
def queue_absent(lab: Lab) -> str:
    return outcome(lambda: lab.client("sqs").get_queue_url(QueueName=f"{lab.prefix}-absent"))


@AREA.ask(
    "Does a long poll return as soon as a message is there?", "received", f"{_GUIDE}sqs-short-and-long-polling.html", BACKLOG
)
def queue_long_poll(lab: Lab) -> str:
    url = _sent(lab)
    return "received" if _take(lab, url, 20) else "nothing"
