"""The stations of ``--test`` mode, contract §1.12."""

from __future__ import annotations

from collections.abc import Sequence

from radiovis.directory.interface import Channel, Default, checked_prefix


class FakeDirectory:
    """A :class:`~radiovis.directory.interface.Directory` with three stations and no passwords worth keeping.

    ``<any id>.test`` with a one-digit id logs in with ``test``, and ``2.testip`` with its own address.
    """

    def __init__(
        self,
        topics: Sequence[str],
        ecc: dict[str, str],
        ecc_topic_gcc: str,
        ecc_topic_cc: str,
        watchdog_topic: Sequence[tuple[str, int]],
        channel_default: Default | None,
    ) -> None:
        """
        :param topics: ``TEST_TOPICS``, the channels of station 1.
        :param ecc: ``TEST_ECC``, country code to GCC.
        :param ecc_topic_gcc: ``TEST_CHANNEL_GCC``: a channel of station 3.
        :param ecc_topic_cc: the same channel with the country code.
        :param watchdog_topic: ``TEST_WATCHDOG_TOPIC``, the channels of station 4 with their numbers.
        :param channel_default: what channel 1 shows when silent.
        :raises ValueError: for a topic that is none.
        """
        watched = {checked_prefix(topic): id for topic, id in watchdog_topic}
        self._stations = {
            "1": tuple(checked_prefix(topic) for topic in topics),
            "3": (checked_prefix(ecc_topic_gcc), checked_prefix(ecc_topic_cc)),
            "4": tuple(watched),
        }
        others = dict.fromkeys(
            topic for station in self._stations.values() for topic in station if topic not in watched
        )
        free = max(watched.values(), default=0) + 1
        self._topics = tuple(Channel(topic, id) for topic, id in watched.items()) + tuple(
            Channel(topic, id) for id, topic in enumerate(others, free)
        )
        self._ecc = dict(ecc)
        self._default = channel_default

    async def check_auth(self, login: str, passcode: str, address: str) -> bool:
        """As the original's fake: what stands behind the first two characters counts."""
        return (login[2:] == "test" and passcode == "test") or (login == "2.testip" and passcode == address)

    async def channels(self, station: str) -> tuple[str, ...]:
        """The topic prefixes of stations 1, 3 and 4."""
        return self._stations.get(station, ())

    async def gcc(self, country: str) -> str | None:
        """From ``TEST_ECC``."""
        return self._ecc.get(country)

    async def topics(self) -> tuple[Channel, ...]:
        """All of them; those of the watchdog with the numbers given."""
        return self._topics

    async def default(self, channel: int) -> Default | None:
        """Channel 1 has one."""
        return self._default if channel == 1 else None
