"""Clients of the services that move traffic. They use botocore's own retries: no event passes through here."""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config

_CONTROL_CONFIG_REGION = "us-west-2"  # the only region of ARC's control plane
_creating = Lock()


@cache
def _session() -> Any:
    return boto3.session.Session()


def _config(attempts: int, read_timeout: float = 10) -> Config:
    retries: Any = {"total_max_attempts": attempts, "mode": "standard"}
    return Config(connect_timeout=2, read_timeout=read_timeout, retries=retries)


def route53(*, hasty: bool = False) -> Any:
    """Return a Route 53 client; a hasty one gives up after seconds. The service is global; AWS_ENDPOINT_URL_ROUTE_53 names
    an emulator's."""
    config = _config(1, 2) if hasty else _config(5)
    with _creating:
        return _session().client("route53", region_name=_session().region_name or "us-east-1", config=config)


def control_config() -> Any:
    """Return a client that describes clusters of Application Recovery Controller."""
    with _creating:
        return _session().client("route53-recovery-control-config", region_name=_CONTROL_CONFIG_REGION, config=_config(3))


def cluster(region: str, url: str) -> Any:
    """Return a client of one endpoint of a cluster. One attempt: the caller has other endpoints to try."""
    with _creating:
        return _session().client("route53-recovery-cluster", region_name=region, endpoint_url=url, config=_config(1))
