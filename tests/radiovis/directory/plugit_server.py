"""A small PlugIt over real HTTP, as contract §3 has it: ``python -m tests.radiovis.directory.plugit_server PORT``.

Like the original it reads the form in the *body* of a GET and never the query string, answers 404 for a wrong secret
and 500 for input it does not know.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import deferLater
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web import resource, server

SECRET = "s3cret"
SLOW_SECONDS = 0.2
BASE = f"/action/radiovis/api/{SECRET}/"


@dataclass
class Content:
    """What this PlugIt knows; change it as a test needs.

    :ivar poison: messages its log cannot take.
    """

    poison: list[str] = field(default_factory=list)
    passwords: dict[str, str] = field(default_factory=lambda: {"1.rock": "rockpass", "2.jazz": "jazzpass"})
    refused_addresses: set[str] = field(default_factory=set)
    channels: dict[str, list[Any]] = field(
        default_factory=lambda: {"1": ["/topic/fm/4e1/4000/09580/", "/topic/dab/4e1/4fff/4001/0"], "2": []}
    )
    gcc: dict[str, str] = field(default_factory=lambda: {"ch": "4e1", "fr": "FE1"})
    all_channels: list[Any] = field(
        default_factory=lambda: [["/topic/fm/4e1/4000/09580/", 12], ["/topic/dab/4e1/4fff/4001/0", 13]]
    )
    vis_channels: list[Any] = field(default_factory=lambda: [["/topic/fm/4e1/4000/09580/", 12]])
    defaults: dict[str, Any] = field(
        default_factory=lambda: {
            "12": {
                "id": 3,
                "orga": 1,
                "name": "Rock",
                "filename": "1/rock.png",
                "radiotext": "Rock FM",
                "radiolink": "http://rock.example/",
                "image_url_prefix": "http://img.example/",
                "clean_filename": "rock.png",
                "public_url": "http://img.example/rock.png",
            }
        }
    )


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    verb: str
    method: str
    form: dict[str, str]
    content_type: str
    query: str


class PlugItServer(resource.Resource):
    """The API. ``mode`` is how it behaves: ``good``, ``500``, ``503``, ``garbage``, ``list``, ``huge``, ``redirect``,
    ``slow`` (after :data:`SLOW_SECONDS`), ``hang`` (no answer at all), ``half`` (half an answer), ``cut`` (half an
    answer and the end of the connection).

    :ivar requests: everything asked so far.
    :ivar modes: a mode for one method, before ``mode``.
    :ivar failures: so many of the next requests are answered 503.
    """

    isLeaf = True

    def __init__(self, reactor: Any = None) -> None:
        """:param reactor: for the mode ``slow``."""
        super().__init__()
        self._reactor = reactor
        self.content = Content()
        self.mode = "good"
        self.modes: dict[str, str] = {}
        self.failures = 0
        self.requests: list[Request] = []
        self.logs: list[dict[str, str]] = []
        self._expected: list[tuple[int, Deferred[None]]] = []

    def count(self, method: str) -> int:
        """How often this method was asked."""
        return sum(request.method == method for request in self.requests)

    def when_asked(self, times: int) -> Deferred[None]:
        """Fires when so many requests have come."""
        arrived: Deferred[None] = Deferred()
        self._expected.append((times, arrived))
        self._announce()
        return arrived

    def _announce(self) -> None:
        for expected in [one for one in self._expected if one[0] <= len(self.requests)]:
            self._expected.remove(expected)
            expected[1].callback(None)

    def render(self, request: server.Request) -> bytes | int:
        path = request.path.decode()
        if not path.startswith(BASE):
            request.setResponseCode(404)
            return b"<h1>Not Found</h1> " + request.path  # As a debug page does: the path, secret and all.
        method = path[len(BASE) :]
        form = {name: values[0] for name, values in parse_qs(request.content.read().decode(), True).items()}
        kind = request.getHeader("content-type") or ""
        query = request.uri.partition(b"?")[2].decode()
        self.requests.append(Request(request.method.decode(), method, form, kind, query))
        self._announce()
        return self._answer(request, method, form)

    def _answer(self, request: server.Request, method: str, form: dict[str, str]) -> bytes | int:
        mode = self.modes.get(method, self.mode)
        if self.failures > 0:
            self.failures -= 1
            mode = "503"
        if mode in ("500", "503"):
            request.setResponseCode(int(mode))
            return b"<h1>Internal Server Error</h1>"
        if mode == "garbage":
            return b"<html>It works! " + BASE.encode() + repr(form).encode() + b"</html>"
        if mode == "list":
            return b"[1, 2]"
        if mode == "huge":
            return b'{"list": ["' + b"x" * 3_000_000 + b'"]}'
        if mode == "redirect":
            request.redirect(b"http://127.0.0.1:1/")
            return b""
        if mode in ("hang", "half", "cut"):
            return self._torn(request, mode)
        if mode == "slow":
            return self._later(request, method, form)
        return self._good(request, method, form)

    def _torn(self, request: server.Request, mode: str) -> int:
        request.notifyFinish().addErrback(lambda _: None)
        if mode != "hang":
            request.setHeader("content-length", "100")
            request.write(b'{"list": [')
        if mode == "cut":
            request.transport.loseConnection()
        return server.NOT_DONE_YET

    def _later(self, request: server.Request, method: str, form: dict[str, str]) -> int:
        def answer() -> None:
            request.write(self._good(request, method, form))
            request.finish()

        late = deferLater(self._reactor, SLOW_SECONDS)
        request.notifyFinish().addErrback(lambda _: late.cancel())
        late.addCallbacks(lambda _: answer(), lambda _: None)
        return server.NOT_DONE_YET

    def _good(self, request: server.Request, method: str, form: dict[str, str]) -> bytes:
        answer: Callable[[dict[str, str]], Any] | None = getattr(self, f"_{method}", None)
        try:
            content = answer(form) if answer else None
        except KeyError:
            content = None
        if content is None:
            request.setResponseCode(500)
            return b"<h1>Internal Server Error</h1>"
        request.setHeader("content-type", "application/json")
        return json.dumps(content).encode()

    def _check_auth(self, form: dict[str, str]) -> Any:
        known = self.content.passwords.get(form["username"])
        if known is None:
            return {"result": False, "error": "Wrong username"}
        if known != form["password"]:
            return {"result": False, "error": "Wrong password"}
        if form["ip"] in self.content.refused_addresses:
            return {"result": False, "error": "IP not allowed"}
        return {"result": True}

    def _get_channels(self, form: dict[str, str]) -> Any:
        return {"list": self.content.channels[form["station_id"]]}

    def _get_gcc(self, form: dict[str, str]) -> Any:
        return {"gcc": self.content.gcc[form["cc"]]}

    def _get_all_channels(self, _: dict[str, str]) -> Any:
        return {"list": self.content.all_channels}

    def _get_all_vis_channels(self, _: dict[str, str]) -> Any:
        return {"list": self.content.vis_channels}

    def _get_channel_default(self, form: dict[str, str]) -> Any:
        return {"info": self.content.defaults.get(form["id"])}

    def _add_log(self, form: dict[str, str]) -> Any:
        if form["message"] in self.content.poison:
            raise KeyError(form["message"])
        self.logs.append({key: form[key] for key in ("topic", "message", "headers", "timestamp")})
        return {}

    def _cleanup_logs(self, form: dict[str, str]) -> Any:
        self.logs.append({"max_age": form["max_age"]})
        return {}


class _Connections(WrappingFactory):
    """Knows the connections that are open, and says when there are none."""

    def __init__(self, site: server.Site) -> None:
        super().__init__(site)
        self._empty: Deferred[None] | None = None

    def unregisterProtocol(self, protocol: ProtocolWrapper) -> None:
        super().unregisterProtocol(protocol)
        if not self.protocols and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def when_empty(self) -> Deferred[None]:
        if not self.protocols:
            return succeed(None)
        self._empty = Deferred()
        return self._empty


class RunningPlugIt:
    """A :class:`PlugItServer` listening on a port of 127.0.0.1 in this process."""

    def __init__(self, reactor: Any, port: int = 0) -> None:
        self.api = PlugItServer(reactor)
        self._connections = _Connections(server.Site(self.api))
        self._listening = reactor.listenTCP(port, self._connections, interface="127.0.0.1")
        self.port: int = self._listening.getHost().port
        self.url = f"http://127.0.0.1:{self.port}{BASE}"

    def when_free(self) -> Deferred[None]:
        """Fires when no client is connected."""
        return self._connections.when_empty()

    async def stop(self) -> None:
        """Listen no longer and drop every connection."""
        await maybeDeferred(self._listening.stopListening)
        for connection in list(self._connections.protocols):
            connection.transport.abortConnection()
        await self.when_free()


if __name__ == "__main__":
    from twisted.internet import reactor

    running = RunningPlugIt(reactor, int(sys.argv[1]))
    print(running.url, flush=True)
    reactor.run()
