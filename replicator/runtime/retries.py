"""Retry policies, each defined once, by name. Waits are full jitter: Brooker, "Exponential Backoff And Jitter", AWS 2015."""

from __future__ import annotations

import random

from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)


class Transient(Exception):
    """Internal: one attempt failed for a transient reason. `sent` says whether it may have taken effect."""

    def __init__(self, reason: str, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


def transient(attempts: int) -> Retrying:
    """Return the policy for a call to a region: up to `attempts` tries."""
    return Retrying(
        retry=retry_if_exception_type(Transient),
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=0.05, max=2.0),
        reraise=True,
    )


MOVED_HOMES_ATTEMPTS = 3


def moved_homes() -> Retrying:
    """Return the policy for a claim whose owner regions were moved: read them again while the call returns None."""
    return Retrying(
        retry=retry_if_result(lambda result: result is None),
        stop=stop_after_attempt(MOVED_HOMES_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.05, max=0.5),
        retry_error_callback=lambda _: None,
    )


def arriving(seconds: float) -> Retrying:
    """Return the policy for data on its way: retry while the call returns True, for `seconds`. Returns the last call's
    result."""
    return Retrying(
        retry=retry_if_result(bool),
        stop=stop_after_delay(seconds),
        wait=wait_random_exponential(multiplier=0.01, max=0.25),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else True,
    )


def full_jitter(failures: int, cap: float = 10.0) -> float:
    """Return the seconds that a worker waits after this many failures in a row, when it retries without a limit."""
    return random.uniform(0.1, min(cap, 0.5 * 2 ** min(failures, 10)))
