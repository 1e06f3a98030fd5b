"""The targets of ``make fuzz`` with octets of Hypothesis: those that mean something, changed here and there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.fuzz import targets
from tests.fuzz.targets import TARGETS


def changed(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Pieces of the seeds and noise, in any order; or one seed with some octets replaced."""
    seed = st.sampled_from(seeds)
    piece = st.builds(
        lambda data, begin, size: data[begin : begin + size], seed, st.integers(0, 60), st.integers(1, 90)
    )
    mixed = st.lists(seed | piece | st.binary(max_size=4), max_size=8).map(b"".join)
    replaced = st.builds(_replace, seed, st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3)), max_size=4))
    return mixed | replaced | st.binary(max_size=200)


def _replace(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    for where, what in changes:
        data = data[:where] + what + data[where + len(what) :]
    return data


def octets(name: str) -> Callable[[Any], Any]:
    """For a test of this target."""
    given_octets = given(data=changed(TARGETS[name][1]))
    setting = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
    return lambda test: setting(given_octets(example(data=b"")(test)))


class AnyOctets(unittest.TestCase):
    def test_the_octets_to_begin_with(self) -> None:
        for target, seeds in TARGETS.values():
            for seed in seeds:
                target(seed)

    @octets("codec")
    def test_codec(self, data: bytes) -> None:
        targets.codec(data)

    @octets("session")
    def test_session(self, data: bytes) -> None:
        targets.session(data)

    @octets("opening")
    def test_opening(self, data: bytes) -> None:
        targets.opening(data)

    @octets("topic")
    def test_topic(self, data: bytes) -> None:
        targets.topic(data)

    @octets("vis_query")
    def test_vis_query(self, data: bytes) -> None:
        targets.vis_query(data)

    @octets("vis_answer")
    def test_vis_answer(self, data: bytes) -> None:
        targets.vis_answer(data)

    @octets("websocket")
    def test_websocket(self, data: bytes) -> None:
        targets.websocket(data)

    @octets("datagram")
    def test_datagram(self, data: bytes) -> None:
        targets.datagram(data)

    @octets("path")
    def test_path(self, data: bytes) -> None:
        targets.path(data)

    @octets("accept")
    def test_accept(self, data: bytes) -> None:
        targets.accept(data)

    @octets("amqp")
    def test_amqp(self, data: bytes) -> None:
        targets.amqp(data)

    @octets("http")
    def test_http(self, data: bytes) -> None:
        targets.http(data)

    @octets("http_headers")
    def test_http_headers(self, data: bytes) -> None:
        targets.http_headers(data)

    @octets("byte_ranges")
    def test_byte_ranges(self, data: bytes) -> None:
        targets.byte_ranges(data)

    @octets("proxy")
    def test_proxy(self, data: bytes) -> None:
        targets.proxy(data)

    @octets("stations")
    def test_stations(self, data: bytes) -> None:
        targets.stations(data)

    @octets("site")
    def test_site(self, data: bytes) -> None:
        targets.site(data)

    @octets("plugit")
    def test_plugit(self, data: bytes) -> None:
        targets.plugit(data)

    @octets("publish")
    def test_publish(self, data: bytes) -> None:
        targets.publish(data)

    @octets("form")
    def test_form(self, data: bytes) -> None:
        targets.form(data)

    @octets("content_type")
    def test_content_type(self, data: bytes) -> None:
        targets.content_type(data)

    @octets("log")
    def test_log(self, data: bytes) -> None:
        targets.log(data)

    @octets("last_id")
    def test_last_id(self, data: bytes) -> None:
        targets.last_id(data)

    @octets("slide")
    def test_slide(self, data: bytes) -> None:
        targets.slide(data)

    @octets("picture")
    def test_picture(self, data: bytes) -> None:
        targets.picture(data)

    @octets("address")
    def test_address(self, data: bytes) -> None:
        targets.address(data)
