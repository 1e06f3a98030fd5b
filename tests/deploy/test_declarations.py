"""Every queue and exchange that real processes declare, against the rules of RabbitMQ 4.3, which cannot be run here.

The rules are those of its release notes, of its list of deprecated features (those that are denied by default there),
and of its pages about quorum queues and streams.
"""

from __future__ import annotations

import re
import unittest
from typing import Any, ClassVar
from uuid import uuid4

from pika.spec import Basic, Exchange, Queue

from tests import services
from tests.acceptance.watched import until
from tests.fanout.bus.amqp_recorder import AmqpRecorder
from tests.processes import ROOT, Server
from tests.radiovis.watchdog.daemon import Daemon

_LENGTHS = {"x-expires", "x-message-ttl", "x-max-length", "x-max-length-bytes", "x-overflow"}
_DEAD_LETTERS = {"x-dead-letter-exchange", "x-dead-letter-routing-key"}
_COMMON = {"x-queue-type", "x-queue-leader-locator"}
ARGUMENTS = {
    "classic": _COMMON | _LENGTHS | _DEAD_LETTERS | {"x-max-priority", "x-single-active-consumer"},
    "quorum": _COMMON
    | _LENGTHS
    | _DEAD_LETTERS
    | {"x-single-active-consumer", "x-delivery-limit", "x-quorum-initial-group-size", "x-dead-letter-strategy"},
    "stream": _COMMON
    | {"x-max-length-bytes", "x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size"},
}
"""What each type of queue takes. Refused: x-queue-master-locator (denied), x-queue-mode (version 1 of classic queues is
removed), and ha-… (mirrored queues are removed)."""
OVERFLOWS = {
    "classic": {"drop-head", "reject-publish", "reject-publish-dlx"},
    "quorum": {"drop-head", "reject-publish"},
}


def faults(declared: Any) -> list[str]:
    """What RabbitMQ 4.3 has against the declaration of a queue."""
    arguments = declared.arguments or {}
    kind = arguments.get("x-queue-type", "classic")
    if kind not in ARGUMENTS:
        return [f"no such type: {kind}"]
    found = [f"{kind} queues take no {each}" for each in sorted(arguments.keys() - ARGUMENTS[kind])]
    if not declared.durable and not declared.exclusive:
        found.append("transient_nonexcl_queues is denied")
    if kind != "classic":
        wrong = {
            "transient": not declared.durable,
            "exclusive": declared.exclusive,
            "auto-delete": declared.auto_delete,
        }
        found += [f"{kind} queues cannot be {each}" for each, is_so in wrong.items() if is_so]
    overflow = arguments.get("x-overflow")
    if overflow is not None and overflow not in OVERFLOWS.get(kind, ()):
        found.append(f"{kind} queues have no x-overflow {overflow}")
    return found


class Rules(unittest.TestCase):
    def test_they_find_what_is_refused(self) -> None:
        durable: dict[str, Any] = {"durable": True}
        quorum, stream = ({"x-queue-type": kind} for kind in ("quorum", "stream"))
        cases: tuple[tuple[str, dict[str, Any]], ...] = (
            ("transient_nonexcl_queues is denied", {}),
            ("transient_nonexcl_queues is denied", {"auto_delete": True}),
            ("classic queues take no x-queue-mode", {**durable, "arguments": {"x-queue-mode": "lazy"}}),
            ("classic queues take no x-queue-master-locator", {**durable, "arguments": {"x-queue-master-locator": ""}}),
            ("quorum queues cannot be transient", {"exclusive": True, "arguments": quorum}),
            ("quorum queues cannot be exclusive", {**durable, "exclusive": True, "arguments": quorum}),
            ("quorum queues cannot be auto-delete", {**durable, "auto_delete": True, "arguments": quorum}),
            ("quorum queues take no x-max-priority", {**durable, "arguments": {**quorum, "x-max-priority": 2}}),
            ("stream queues take no x-expires", {**durable, "arguments": {**stream, "x-expires": 2}}),
            ("no such type: mirrored", {**durable, "arguments": {"x-queue-type": "mirrored"}}),
        )
        for expected, properties in cases:
            with self.subTest(expected):
                self.assertIn(expected, faults(Queue.Declare(queue="q", **properties)))

    def test_they_find_nothing_else(self) -> None:
        for properties in ({"durable": True}, {"exclusive": True}, {"durable": True, "auto_delete": True}):
            self.assertEqual(faults(Queue.Declare(queue="q", **properties)), [])


class Declarations(unittest.TestCase):
    """A node and two watchdogs, with everything that has a queue."""

    recorder: ClassVar[AmqpRecorder]
    exchange: ClassVar[str]
    queue: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        broker = services.rabbitmq()
        cls.recorder = AmqpRecorder(broker)
        cls.addClassCleanup(cls.recorder.close)
        cls.exchange, cls.queue = f"radiovis.{uuid4()}", f"log.{uuid4()}"
        settings = {
            "RABBITMQ_HOST": f"{cls.recorder.address.host}:{cls.recorder.address.port}",
            "RABBITMQ_EXCHANGE": cls.exchange,
            "SCHEDULE": "server",
            "TEST_FB_QUEUE": cls.queue,
            "MONITORING_ENABLED": True,
            "MONITORING_HOST": f"{cls.recorder.address.host}:{cls.recorder.address.port}",
            "MONITORING_EXCHANGE": f"{cls.exchange}.monitoring",
            "MONITORING_QUEUE": f"{cls.queue}.monitoring",
        }
        node = Server("--test", **settings).start()
        cls.addClassCleanup(node.close)
        node.wait_for("bus.caught_up")
        for event in ("kept_queue.open", "leader.standing_by"):
            watchdog = Daemon(broker, cls.exchange, "--test", **settings).start()
            cls.addClassCleanup(watchdog.close)
            watchdog.wait_for(event)
        until(
            lambda: f"{cls.queue}.monitoring" in cls.names(Queue.Declare, "queue"), "the queue of monitoring declared"
        )

    @classmethod
    def names(cls, kind: Any, field: str) -> set[str]:
        return {getattr(each, field) for each in cls.recorder.called(kind)}

    def queues(self) -> list[Any]:
        """Declarations that make a queue, not those that only ask for it."""
        return [each for each in self.recorder.called(Queue.Declare) if not each.passive]

    def test_all_of_them_were_seen(self) -> None:
        log = self.queue
        expected = {"", log, f"{log}.leader", f"{log}.leader.elected", f"{log}.held", f"{log}.monitoring"}
        self.assertLessEqual(expected, {each.queue for each in self.queues()})
        exchanges = self.names(Exchange.Declare, "exchange")
        self.assertLessEqual({self.exchange, f"{self.exchange}.monitoring", "radiovis.cluster"}, exchanges)

    def test_queues_are_declared_in_one_folder_only(self) -> None:
        """So a program that is not started here declares nothing else."""
        files = [
            file for name in ("fanout", "radiovis", "artcast", "webserver") for file in (ROOT / name).rglob("*.py")
        ]
        found = {file.parent for file in files if re.search("(queue|exchange)_declare", file.read_text())}
        self.assertEqual(found, {ROOT / "fanout" / "bus"})

    def test_rabbitmq_4_3_refuses_no_queue(self) -> None:
        self.assertEqual({each.queue: found for each in self.queues() if (found := faults(each))}, {})

    def test_a_queue_that_may_outlive_its_process_is_bounded(self) -> None:
        """The lock of earlier versions is never written to."""
        own = [each for each in self.queues() if each.exclusive and each.queue != f"{self.queue}.leader"]
        self.assertTrue(own)
        for each in own:
            self.assertLessEqual({"x-max-length", "x-expires"}, (each.arguments or {}).keys(), each)

    def test_no_prefetch_is_for_a_whole_channel(self) -> None:
        """global_qos is denied."""
        self.assertTrue(self.recorder.called(Basic.Qos))
        self.assertEqual([each for each in self.recorder.called(Basic.Qos) if each.global_qos], [])

    def test_exchanges_are_of_types_that_every_broker_has(self) -> None:
        made = {each.type for each in self.recorder.called(Exchange.Declare) if not each.passive}
        self.assertEqual(made, {"fanout"})
