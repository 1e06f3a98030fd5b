"""Logging in over HTTP: HTTP Basic, and an application that knows who this is."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from fanout.doors.application import Application, Principal, Refused
from fanout.doors.http_endpoint import HttpError, basic_login, unauthorized
from fanout.doors.http_request import HttpRequest
from fanout.doors.login_throttle import TooManyFailures


async def log_in(
    application: Application, complain: Callable[..., None], request: HttpRequest, realm: str
) -> Principal:
    """Whose login and password a request has.

    :param complain: logs a client's fault: event name, address, fields.
    :param realm: what a browser names when it asks for the password.
    :raises HttpError: there are none, or wrong ones; it cannot be found out now; this address has failed too often.
    """
    login, password = basic_login(request, realm)
    known: Deferred[Principal | None] = Deferred()  # who goes while we find out does not end that: failures count
    Deferred.fromCoroutine(application.login(login, password, request.address)).chainDeferred(known)
    try:
        principal = await known
    except Refused as refused:
        status = 429 if isinstance(refused, TooManyFailures) else 503
        raise HttpError(status, refused.detail, Retry_After="60") from None
    if principal is None:
        complain("login.refused", request.address, login=login)
        raise unauthorized("Wrong credentials.", realm)
    return principal
