"""Errors as each service writes them, so that an SDK raises what it would raise for the service's own."""

from __future__ import annotations

import json
import uuid
import zlib
from http import HTTPStatus

from chaos.faults.messages import Message, answer
from chaos.faults.request import Asked

MESSAGE = "Operation failed due to a simulated fault"
"""Message of LocalStack's own errors."""
_DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
_SHAPES = {"dynamodb": _DYNAMODB, "dynamodbstreams": _DYNAMODB, "sqs": "com.amazonaws.sqs#"}
_FALLEN = "MeridianTargetUnreachable"


def refusal(
    asked: Asked, status: int, code: str, message: str = MESSAGE, content_type: str = "", method: str = "POST"
) -> Message:
    """Return the answer of `asked.service` with this error. `content_type` is the request's: JSON is answered in kind."""
    number = str(uuid.uuid4())
    headers = {"x-amzn-requestid": number}
    if asked.protocol == "json":
        headers["content-type"] = content_type or "application/x-amz-json-1.0"
        body = json.dumps({"__type": _SHAPES.get(asked.service, "") + code, "message": message}).encode()
        if asked.service in ("dynamodb", "dynamodbstreams"):
            headers["x-amz-crc32"] = str(zlib.crc32(body))
    elif asked.protocol == "rest-json":
        headers |= {"content-type": "application/json", "x-amzn-errortype": code}
        body = json.dumps({"message": message}).encode()
    elif asked.protocol == "cbor":
        headers |= {"content-type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
        body = b"\xa2" + b"".join(map(_cbor, ("__type", code, "message", message)))
    else:
        headers["content-type"] = "application/xml" if asked.protocol == "rest-xml" else "text/xml"
        body = _xml(asked, status, code, message, number)
    return answer(status, _phrase(status), headers, b"" if method == "HEAD" else body)


def unreachable(asked: Asked, target: str, why: str, content_type: str, method: str) -> Message:
    """Return the answer where there is no service: 502, in its own format."""
    message = f"no response from {target} ({why}); start it, or give chaos proxy another --target"
    return refusal(asked, 502, _FALLEN, message, content_type, method)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _xml(asked: Asked, status: int, code: str, message: str, number: str) -> bytes:
    message = message.replace("&", "&amp;").replace("<", "&lt;")
    inner = f"<Code>{code}</Code><Message>{message}</Message>"
    if asked.protocol == "ec2":
        text = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>{number}</RequestID></Response>"
    elif asked.service == "s3":
        text = f"<Error>{inner}<RequestId>{number}</RequestId></Error>"
    else:
        kind = "Receiver" if status >= 500 else "Sender"
        text = f"<ErrorResponse><Error><Type>{kind}</Type>{inner}</Error><RequestId>{number}</RequestId></ErrorResponse>"
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode()


def _cbor(text: str) -> bytes:
    """Return a CBOR text string, RFC 8949, section 3.1."""
    raw = text.encode()
    if len(raw) < 24:
        return bytes([0x60 + len(raw)]) + raw
    return (b"\x78" + bytes([len(raw)]) if len(raw) < 256 else b"\x79" + len(raw).to_bytes(2, "big")) + raw
