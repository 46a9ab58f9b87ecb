"""Sessions of botocore: the process's own credentials, and those of roles that it assumes in other accounts.

A region in another account is reached by the role that `roles` names for it. botocore assumes the role with the process's
own credentials at the first request, and again before they expire. docs/decisions/0041.
"""

from __future__ import annotations

from functools import cache, partial
from threading import RLock
from typing import Any, cast

import botocore.session
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import NoCredentialsError

from replicator.runtime.settings import Settings

creating = RLock()
"""Held while a client is created: clients may be shared between threads, creating them may not."""


@cache
def session() -> botocore.session.Session:
    """Return the process's session with its own credentials. There is one: each new one reads botocore's service models
    again, which takes longer than all else."""
    return botocore.session.get_session()


def session_of(settings: Settings, region: str) -> botocore.session.Session:
    """Return the session for requests to `region`: of the role that is assumed there, or the process's own."""
    role = settings.roles.get(region)
    if role is None:
        return session()
    name = f"meridian-{settings.prefix}"[:64]
    return _assuming(role, name, region, settings.endpoint(region), settings.connect_timeout, settings.read_timeout)


@cache
def _assuming(
    role: str, name: str, region: str, endpoint: str | None, connect_timeout: float, read_timeout: float
) -> botocore.session.Session:
    config = Config(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        retries={"total_max_attempts": 1, "mode": "standard"},  # a request that cannot be signed is tried again
    )

    def assume() -> dict[str, Any]:
        own = session().get_credentials()
        if own is None:  # the instance's may be there the next time
            raise NoCredentialsError
        # STS of the role's own region: a link depends on no third one.
        fetcher: Any = AssumeRoleCredentialFetcher(
            client_creator=partial(_create, region_name=region, endpoint_url=endpoint, config=config),
            source_credentials=own,
            role_arn=role,
            extra_args={"RoleSessionName": name},  # which CloudTrail shows
        )
        fetched: dict[str, Any] = fetcher.fetch_credentials()
        return fetched

    made: Any = botocore.session.Session()
    made.register_component("data_loader", session().get_component("data_loader"))  # the models that were read
    made._credentials = DeferredRefreshableCredentials(assume, "assume-role")
    return cast("botocore.session.Session", made)


def _create(service: str, **options: Any) -> Any:
    with creating:
        return session().create_client(service, **options)
