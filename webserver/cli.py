"""``python -m webserver SITE.toml``, or a folder or a WSGI application instead of the file. The exit codes:

==== ================================================================================
0    it ended normally, after SIGTERM or Ctrl-C
2    it cannot start: the command line, the site file or the port must be corrected
==== ================================================================================
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError
from twisted.internet.error import CannotListenError

from fanout.process.logs import set_up_logs
from fanout.process.service import Notify, Service, use_monotonic_timers
from webserver.server import WebServer
from webserver.site_config import FilesPart, SiteConfig, SiteError, SiteServer, WsgiPart, read_site, reference

_WRONG = 2
_APPLICATION = re.compile(r"\w+(\.\w+)*:\w+")

log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends the process. :return: the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m webserver", description="Serve the files, uploads, WSGI applications and topics of a site file."
    )
    parser.add_argument(
        "site",
        metavar="SITE.toml | FOLDER | MODULE:APPLICATION",
        nargs="?",
        help="a site file; or a folder with files to serve; or a WSGI application in a module of this folder",
    )
    parser.add_argument("--ip", help="address to listen on, instead of the site file's (127.0.0.1)")
    parser.add_argument(
        "--port", type=int, help="port to listen on, instead of the site file's (8000); 0 = a free port"
    )
    parser.add_argument("--check", action="store_true", help="only print what is wrong with the site file")
    parser.add_argument("--reference", action="store_true", help="print every key of a site file")
    given = parser.parse_args(argv)
    if given.reference:
        print("\n".join(reference()))
        return 0
    if given.site is None:
        parser.error("give a site file, a folder, or a WSGI application such as module:app")
    try:
        site, home = _site(given.site)
        chosen = {name: getattr(given, name) for name in ("ip", "port") if getattr(given, name) is not None}
        return _serve(_listening_at(site, **chosen), home, check=given.check)
    except SiteError as error:
        print(error, file=sys.stderr)
    except CannotListenError as error:
        print(f"cannot listen on {error.interface}:{error.port}: {error.socketError}", file=sys.stderr)
    return _WRONG


def _site(given: str) -> tuple[SiteConfig, Path]:
    """The site of a command line, and the folder to which its relative paths refer.

    :raises SiteError: the argument is not a site file, a folder or an application, or the file is invalid.
    """
    path = Path(given)
    if path.is_dir():
        return SiteConfig(files=[FilesPart(folder=".", listing=True)]), path.resolve()
    if not path.exists() and _APPLICATION.fullmatch(given):
        return SiteConfig(wsgi=[WsgiPart(application=given, python_path=["."])]), Path.cwd()
    if not path.exists() and path.suffix != ".toml":
        raise SiteError(f"{given} is not a site file, not a folder, and not a WSGI application such as module:app")
    return read_site(path), path.resolve().parent


def _listening_at(site: SiteConfig, **chosen: Any) -> SiteConfig:
    """The same site with another address or port. :raises SiteError: one of them is invalid."""
    try:
        server = SiteServer.model_validate({**site.server.model_dump(), **chosen})
    except ValidationError as error:
        raise SiteError("\n".join(f"--{each['loc'][0]}: {each['msg'].lower()}" for each in error.errors())) from None
    return site.model_copy(update={"server": server})


def _serve(site: SiteConfig, home: Path, *, check: bool) -> int:
    from twisted.internet import reactor  # noqa: PLC0415  (the import installs it, which only a server needs)

    use_monotonic_timers(reactor)
    server = WebServer(reactor, site, home)
    if check:
        return 0
    set_up_logs(site.server.log_level, secrets=site.secrets())
    where = server.start()
    reactor.callWhenRunning(log.info, "web.ready", address=where)
    status = f"serving at {where}"
    Service(reactor, Notify(os.environ), stop=server.stop, reload=server.reload, status=lambda: status).run()
    return 0
