"""Logging: structlog, as JSON in Lambda and CI and readable on a terminal. Payloads are never logged."""

from __future__ import annotations

import logging
import os
import sys

import structlog

from replicator.runtime.environment import given


def configure_logs(level: str | None = None) -> None:
    """Set up structlog for this process. Logs go to standard error; standard output is reserved for results."""
    chosen = (level or given("MERIDIAN_LOG") or "info").upper()
    machine = "AWS_LAMBDA_FUNCTION_NAME" in os.environ or "CI" in os.environ or not sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=True)]
        if machine
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]  # Rich's shows payloads
    )
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, chosen, logging.INFO)),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # one write per line: metrics are printed beside it
        cache_logger_on_first_use=True,
    )
