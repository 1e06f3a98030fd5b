"""What looks at slides, and holds those for later: made as the settings say."""

from __future__ import annotations

import time
from functools import partial
from threading import Thread
from typing import Any

from twisted.python.threadpool import ThreadPool

from fanout.application.interface import Application
from fanout.bus.interface import BrokerBus, Bus
from fanout.listeners.address import Networks
from fanout.settings import SettingsError
from radiovis.preflight.checked_publish import CheckedApplication
from radiovis.preflight.slide_check import Preflight
from radiovis.preflight.verdicts import Verdicts
from radiovis.schedule.broker_store import BrokerIntake
from radiovis.schedule.disk_store import DiskSlideStore
from radiovis.schedule.held_slides import SlideIntake
from radiovis.schedule.scheduled_publish import ScheduledApplication
from radiovis.settings import Settings
from radiovis.slides.fetch import SlideFetch
from radiovis.slides.public_addresses import PublicAddresses, system_lookup

_CONNECT_SHARE = 0.3  # of the time for one slide: then another address of its host has a chance


def preflight(reactor: Any, settings: Settings) -> Preflight | None:
    """What looks at slides; None when nobody asked for it."""
    if settings.PREFLIGHT == "off":
        return None
    seconds = settings.PREFLIGHT_SECONDS
    addresses = PublicAddresses(
        reactor,
        system_lookup(reactor, _lookups(settings.PREFLIGHT_AT_ONCE)),
        Networks.parse(settings.PREFLIGHT_PRIVATE),
        seconds * _CONNECT_SHARE,
    )
    fetch = SlideFetch(reactor, seconds=seconds, at_once=settings.PREFLIGHT_AT_ONCE, dial=addresses.dial)
    verdicts = Verdicts(reactor, fetch.get, seconds=seconds, kept=settings.PREFLIGHT_CACHE_SECONDS)
    return Preflight(settings.PREFLIGHT, verdicts, reactor)


class _Unawaited(ThreadPool):
    """Its threads do not hold up the end of the process: an answer of a name server may take half a minute."""

    threadFactory: Any = staticmethod(partial(Thread, daemon=True))


def _lookups(threads: int) -> ThreadPool:
    pool = _Unawaited(0, threads, name="preflight")
    pool.start()
    return pool


def entrance(reactor: Any, settings: Settings, bus: Bus, *, fake: bool) -> SlideIntake | None:
    """Where a node puts what is to be shown later; None when that is left to the radios.

    :param fake: ``--test`` mode.
    :raises SettingsError: there is nothing that could hold it.
    """
    if settings.SCHEDULE == "pass":
        return None
    if settings.STANDALONE:
        return DiskSlideStore(reactor, settings.SCHEDULE_FILE, settings.SCHEDULE_MAX)
    if not isinstance(bus, BrokerBus):
        raise SettingsError("SCHEDULE = server: without a broker nothing holds messages, but with --standalone.")
    return BrokerIntake(reactor, bus, held_queue(settings, fake=fake))


def held_queue(settings: Settings, *, fake: bool) -> str:
    """The broker's queue of held messages. :param fake: ``--test`` mode."""
    return f"{settings.TEST_FB_QUEUE if fake else settings.FB_QUEUE}.held"


def extended(
    application: Application, settings: Settings, entrance: SlideIntake | None, preflight: Preflight | None
) -> Application:
    """The application with what the settings add to it; nothing is in the way of a publish that needs none of it."""
    if entrance is not None:
        application = ScheduledApplication(application, entrance, time.time, settings.SCHEDULE_HORIZON)
    if preflight is not None:
        application = CheckedApplication(application, preflight)
    return application
