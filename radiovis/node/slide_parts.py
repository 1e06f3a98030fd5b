"""What looks at slides, and holds those for later: made as the settings say."""

from __future__ import annotations

import time
from functools import partial
from threading import Thread
from typing import Any

from twisted.python.threadpool import ThreadPool

from fanout.application.interface import Application
from fanout.bus.interface import BrokerBus, Bus
from fanout.settings import SettingsError
from radiovis.preflight.checked_publish import CheckedApplication
from radiovis.preflight.message_check import Preflight
from radiovis.preflight.slide_verdicts import SlideVerdicts
from radiovis.schedule.broker_store import BrokerIntake
from radiovis.schedule.disk_store import DiskSlideStore
from radiovis.schedule.interface import SlideIntake
from radiovis.schedule.trigger_time import ScheduledApplication
from radiovis.settings import Settings
from radiovis.slides.fetch import SlideFetch
from radiovis.slides.public_addresses import PublicAddresses, system_lookup


def preflight(reactor: Any, settings: Settings) -> Preflight | None:
    """What looks at slides; None when nobody asked for it."""
    if settings.PREFLIGHT == "off":
        return None
    lookup = system_lookup(reactor, _lookups(settings.PREFLIGHT_AT_ONCE))
    fetch = SlideFetch(reactor, settings, dial=PublicAddresses(reactor, settings, lookup).dial)
    return Preflight(settings, SlideVerdicts(reactor, settings, fetch.get), reactor)


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
        return DiskSlideStore(reactor, settings)
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
        application = ScheduledApplication(application, entrance, time.time, settings)
    if preflight is not None:
        application = CheckedApplication(application, preflight)
    return application
