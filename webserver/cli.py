"""``python -m webserver SITE.toml``.

==== =====================================================================================
0    it ended in order, after SIGTERM or Ctrl-C
2    it cannot start: the command line, the site file or the port has to be put right first
==== =====================================================================================
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
from twisted.internet.error import CannotListenError

from fanout.process.logs import set_up_logs
from fanout.process.service import Notify, Service, use_monotonic_timers
from webserver.server import WebServer
from webserver.site_config import SiteConfig, SiteError, read_site, reference

_WRONG = 2

log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it. :return: the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m webserver", description="Serve files, uploads, WSGI applications and topics, as a file says."
    )
    parser.add_argument("site", metavar="SITE.toml", nargs="?", type=Path, help="what to serve, and where")
    parser.add_argument("--check", action="store_true", help="only say what is wrong with the file")
    parser.add_argument("--reference", action="store_true", help="print every key of such a file")
    given = parser.parse_args(argv)
    if given.reference:
        print("\n".join(reference()))
        return 0
    if given.site is None:
        parser.error("give the site file")
    try:
        return _serve(read_site(given.site), given.site.resolve().parent, check=given.check)
    except SiteError as error:
        print(error, file=sys.stderr)
    except CannotListenError as error:
        print(f"cannot listen on {error.interface}:{error.port}: {error.socketError}", file=sys.stderr)
    return _WRONG


def _serve(site: SiteConfig, home: Path, *, check: bool) -> int:
    from twisted.internet import reactor  # noqa: PLC0415  (importing it installs it: only a server wants that)

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
