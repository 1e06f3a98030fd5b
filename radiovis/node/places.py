"""Where a node listens for clients."""

from __future__ import annotations

from dataclasses import dataclass

from radiovis.settings import Settings

_TEST_IP, _TEST_PORT = "127.0.0.1", 61424  # contract §1.12


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An address to listen on.

    :ivar port: 0 for a free one.
    :ivar door: who is behind it: ``stomp``, ``http``, or nobody the public knows.
    :ivar secure: with TLS.
    """

    ip: str
    port: int
    door: str = ""
    secure: bool = False


_PORTS = ("STOMP_PORT", "STOMP_TLS_PORT", "HTTP_PORT", "HTTPS_PORT", "ADMIN_PORT", "ADMIN_TLS_PORT")


def port_setting(settings: Settings, port: int) -> str:
    """The name of the setting this port came from; empty for none."""
    return next((name for name in _PORTS if getattr(settings, name) == port), "")


def places(settings: Settings, *, fake: bool) -> dict[str, ListenAddress]:
    """Every place of a node, by its name. :param fake: ``--test`` mode, which has a port of its own for STOMP."""
    found = {"stomp": ListenAddress(settings.STOMP_IP, settings.STOMP_PORT, "stomp")}
    if fake and settings.source_of("STOMP_PORT") == "default":
        found["stomp"] = ListenAddress(_TEST_IP, _TEST_PORT, "stomp")
    # Test suites start many nodes on one machine: with --test there is HTTP only where it is asked for.
    if settings.HTTP_PORT and not (fake and settings.source_of("HTTP_PORT") == "default"):
        found["http"] = ListenAddress(settings.HTTP_IP, settings.HTTP_PORT, "http")
    if settings.TLS_CERTIFICATE and settings.STOMP_TLS_PORT:
        found["stomp_tls"] = ListenAddress(settings.STOMP_IP, settings.STOMP_TLS_PORT, "stomp", secure=True)
    if settings.TLS_CERTIFICATE and settings.HTTPS_PORT:
        found["https"] = ListenAddress(settings.HTTP_IP, settings.HTTPS_PORT, "http", secure=True)
    return found
