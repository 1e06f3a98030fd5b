"""Why a connection could not be made, in words people understand."""

from __future__ import annotations

from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as NobodyListens
from twisted.internet.error import TimeoutError as NoAnswer


def connect_failure(error: BaseException, seconds: float) -> str:
    """The reason, in a few words; it may hold what a stranger said.

    :param error: what the attempt ended with.
    :param seconds: how long it was given.
    """
    if isinstance(error, DNSLookupError):
        return "no such host"
    if isinstance(error, NobodyListens):
        return "nothing listens there (connection refused)"
    if isinstance(error, NoAnswer):
        return f"no answer within {seconds:g} s"
    if isinstance(error, ConnectError) and error.osError is not None:
        return str(getattr(error.osError, "strerror", None) or error.osError)
    return str(error) or type(error).__name__
