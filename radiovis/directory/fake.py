"""The directory of ``--test`` mode (contract §1.12): stations with known logins, from the settings ``TEST_…``."""

from __future__ import annotations

from typing import Any

from radiovis.directory.interface import Channel, Default, checked_prefix
from radiovis.settings import Settings


class FakeDirectory:
    """A :class:`~radiovis.directory.interface.Directory` of three stations without secrets.

    ``<digit>.test`` logs in with ``test``, and ``2.testip`` with the address of the client.
    """

    def __init__(self, settings: Settings) -> None:
        """
        :param settings: ``TEST_…``: topics of station 1, country codes, the two spellings of station 3's channel,
            and the channels of station 4; ``FB_IMAGE_LOCATIONS`` for the default of channel 1.
        :raises ValueError: a topic is not valid.
        """
        watched = {checked_prefix(topic): id for topic, id in settings.TEST_WATCHDOG_TOPIC}
        self._stations = {
            "1": tuple(checked_prefix(topic) for topic in settings.TEST_TOPICS),
            "3": (checked_prefix(settings.TEST_ECC_TOPIC_GCC), checked_prefix(settings.TEST_ECC_TOPIC_CC)),
            "4": tuple(watched),
        }
        others = dict.fromkeys(
            topic for station in self._stations.values() for topic in station if topic not in watched
        )
        free = max(watched.values(), default=0) + 1
        self._topics = tuple(Channel(topic, id) for topic, id in watched.items()) + tuple(
            Channel(topic, id) for id, topic in enumerate(others, free)
        )
        self._ecc = dict(settings.TEST_ECC)
        self._default = _default(settings.TEST_CHANNEL_DEFAULT, settings.FB_IMAGE_LOCATIONS)

    async def check_auth(self, login: str, passcode: str, address: str) -> bool:
        """Check a login as the original does: only the login without its first two characters matters."""
        return (login[2:] == "test" and passcode == "test") or (login == "2.testip" and passcode == address)

    async def channels(self, station: str) -> tuple[str, ...]:
        """The topic prefixes of stations 1, 3 and 4."""
        return self._stations.get(station, ())

    async def gcc(self, country: str) -> str | None:
        """The GCC from ``TEST_ECC``."""
        return self._ecc.get(country)

    async def topics(self) -> tuple[Channel, ...]:
        """All channels; those of station 4 with their numbers."""
        return self._topics

    async def default(self, channel: int) -> Default | None:
        """The default of channel 1; other channels have none."""
        return self._default if channel == 1 else None


def _default(info: dict[str, Any], locations: str) -> Default:
    """:param info: the default as PlugIt describes it.
    :param locations: the URL in front of the file name; if it is empty, the URL of the picture itself is used, if there
        is one.
    """
    image = info["public_url"] if not locations and "public_url" in info else locations + info["filename"]
    return Default(image, info.get("radiotext"), info.get("radiolink"))
