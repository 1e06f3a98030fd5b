"""The web server within another server: ``python server.py --with webserver``. All nodes share its topics."""

from __future__ import annotations

import time
from pathlib import Path

from fanout.application.guests import Host
from fanout.bus.duplicates import is_later
from fanout.hub.history import History
from fanout.hub.message import Message
from fanout.settings import SettingsError
from webserver.server import WebServer
from webserver.serving import SiteTopics
from webserver.site_config import SiteConfig, SiteError, read_site

SITE = "WEBSERVER_SITE"
"""The environment variable with the path of the site file."""
PREFIX = "/topic/web/"
"""Prefix of the topics of all sites, in the hub and on the bus: ``/channels/a`` is ``/topic/web/a``."""


class SharedTopics(SiteTopics):
    """Topics on the hub and the bus of a host, shared by all nodes on this bus."""

    def __init__(self, host: Host, site: SiteConfig) -> None:
        part = site.topics
        self._history = History(time.monotonic)
        super().__init__(
            host.reactor,
            host.hub,
            host.bus,
            self._history,
            part.token.get_secret_value() if part else "",
            listeners=part.listeners if part else 1,
            prefix=PREFIX,
        )
        self.largest = lambda: host.limits.body_bytes

    def hear(self, message: Message) -> bool:
        """Handle a message of the bus if it is on a topic of a site. A message that arrives after a later one of its
        topic is dropped.

        :return: whether it is on a topic of a site.
        """
        if not message.topic.startswith(PREFIX):
            return False
        last = self.pending.hub.last(message.topic)
        if last is None or is_later(message.serial, last.serial) is not False:
            self._history.add(message.topic, message)
            self.pending.hub.publish(message.topic, message)
        return True


class SiteGuest:
    """The web server as a :class:`fanout.application.guests.Guest`."""

    def __init__(self, host: Host, path: Path) -> None:
        """:raises SiteError: the site file cannot be used."""
        site = read_site(path)
        topics = SharedTopics(host, site)
        self._server = WebServer(host.reactor, site, path.resolve().parent, topics)
        self.hear = topics.hear
        self.reload = self._server.reload
        self.stop = self._server.stop

    def start(self) -> dict[str, str]:
        """Start listening.

        :return: the address, by name.
        :raises twisted.internet.error.CannotListenError: the port is taken.
        """
        return {"web": self._server.start()}


def guest(host: Host) -> SiteGuest:
    """Make the site of the file in :data:`SITE`, on the hub and bus of a host. The host owns the process and its logs.

    :raises SettingsError: there is no such file, or it is invalid.
    """
    path = host.environ.get(SITE, "")
    if not path:
        raise SettingsError(f"WITH = webserver: set {SITE} to the path of the site file")
    try:
        return SiteGuest(host, Path(path))
    except SiteError as error:
        raise SettingsError(str(error)) from None
