"""The supervisor of several workers, with processes that only exist in the test."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial import unittest

from fanout.settings import SettingsError, read_settings
from radiovis.admin.listener import AdminPorts
from radiovis.node.workers import END_SECONDS, WorkerSupervisor, check_workers
from radiovis.settings import Settings

DRAIN = 5


class FakeProcess:
    """A process that ends when the test says so."""

    def __init__(self, protocol: Any, command: list[str], pid: int) -> None:
        self.protocol, self.command, self.pid = protocol, command, pid
        self.signals: list[str] = []
        self.gone = False

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)

    def end(self, code: int = 0, signal: int | None = None) -> None:
        error = ProcessTerminated(code or None, signal) if code or signal else ProcessDone(0)
        self.gone = True
        self.protocol.processEnded(Failure(error))


class FakeReactor(Clock):
    """Time that the test moves, and the processes that were started."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.stopped = False

    def callWhenRunning(self, function: Any) -> None:
        function()

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], **_: object) -> FakeProcess:
        self.processes.append(FakeProcess(protocol, args, 100 + len(self.processes)))
        return self.processes[-1]

    def stop(self) -> None:
        self.stopped = True


def settings(**given: str) -> Settings:
    return read_settings(
        Settings,
        {"WORKERS": "2", "STOMP_IP": "127.0.0.1", "STOMP_PORT": "0", "HTTP_PORT": "0", "ADMIN_PORT": "0", **given},
        {"DRAIN_SECONDS": str(DRAIN)},
    )


class SupervisorCase(unittest.TestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.supervisor = WorkerSupervisor(self.reactor, settings(), ["--log-level", "INFO"], fake=False)
        self.supervisor.start()
        self.addCleanup(self.clean_up)
        self.first, self.second = self.reactor.processes

    def clean_up(self) -> None:
        """Release the ports. Nobody waits for processes that do not exist."""
        self.supervisor.stop()

    def pauses(self, times: int) -> list[float]:
        """Seconds until the first worker was started again, each time it died."""
        found = []
        process = self.first
        for _ in range(times):
            before, died = len(self.reactor.processes), self.reactor.seconds()
            process.end(1)
            while len(self.reactor.processes) == before:
                self.reactor.advance(0.5)
            process = self.reactor.processes[-1]
            found.append(self.reactor.seconds() - died)
        return found


class Begin(SupervisorCase):
    def test_each_worker_is_told_its_number_and_the_flags(self) -> None:
        for number, process in enumerate((self.first, self.second)):
            self.assertEqual(process.command[2:6], ["worker", str(number), "--log-level", "INFO"])

    def test_a_free_port_is_the_same_for_all(self) -> None:
        flags = [process.command[6:] for process in (self.first, self.second)]
        self.assertEqual(flags[0], flags[1])
        self.assertEqual(flags[0][0], "--stomp-port")
        self.assertGreater(int(flags[0][1]), 0)

    def test_how_many_run(self) -> None:
        self.assertEqual(self.supervisor.status(), "2 of 2 workers are running")
        self.first.end(1)
        self.assertEqual(self.supervisor.status(), "1 of 2 workers are running")


class Deaths(SupervisorCase):
    def test_a_worker_that_dies_again_and_again_waits_longer(self) -> None:
        self.assertEqual(self.pauses(8), [1, 2, 4, 8, 16, 32, 60, 60])

    def test_a_worker_that_lived_long_is_started_soon(self) -> None:
        self.assertEqual(self.pauses(2), [1, 2])
        process = self.reactor.processes[-1]
        self.reactor.advance(61)
        process.end(0, signal=9)
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.processes), 5)

    def test_wrong_settings_at_the_start_end_everything(self) -> None:
        self.first.end(2)
        self.assertTrue(self.reactor.stopped)
        self.assertEqual(self.supervisor.exit_code, 2)

    def test_wrong_settings_later_do_not(self) -> None:
        self.pauses(1)
        self.reactor.processes[-1].end(2)
        self.assertFalse(self.reactor.stopped)


class Signals(SupervisorCase):
    def test_a_reload_reaches_every_worker_that_runs(self) -> None:
        self.first.end(1)
        self.supervisor.reload()
        self.assertEqual((self.first.signals, self.second.signals), ([], ["HUP"]))

    def test_the_end_waits_for_all(self) -> None:
        ended = self.supervisor.stop()
        self.assertEqual((self.first.signals, self.second.signals), (["TERM"], ["TERM"]))
        self.first.end()
        self.assertNoResult(ended)
        self.second.end()
        self.successResultOf(ended)
        self.assertEqual(self.supervisor.exit_code, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_worker_that_is_to_be_started_again_is_not(self) -> None:
        self.first.end(1)
        ended = self.supervisor.stop()
        self.second.end()
        self.successResultOf(ended)
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_a_worker_that_does_not_end_is_killed_after_its_drain(self) -> None:
        ended = self.supervisor.stop()
        self.first.end()
        self.reactor.advance(DRAIN + END_SECONDS - 1)
        self.assertEqual(self.second.signals, ["TERM"])
        self.reactor.advance(1)
        self.assertEqual(self.second.signals, ["TERM", "KILL"])
        self.second.end(0, signal=9)
        self.successResultOf(ended)
        self.assertEqual(self.supervisor.exit_code, 1)

    def test_a_reload_may_change_how_long_that_is(self) -> None:
        self.supervisor.reload(settings().model_copy(update={"DRAIN_SECONDS": 100}))
        self.supervisor.stop()
        self.reactor.advance(DRAIN + END_SECONDS)
        self.assertEqual(self.first.signals, ["HUP", "TERM"])
        for process in (self.first, self.second):
            process.end()


class Refused(unittest.TestCase):
    def refused(self, text: str, **given: str) -> None:
        wrong = settings(**given)
        with self.assertRaisesRegex(SettingsError, text):
            check_workers(wrong, AdminPorts.of(wrong))

    def test_settings_that_cannot_be_shared(self) -> None:
        self.refused("remove STANDALONE", STANDALONE="true")
        self.refused("remove RABBITMQ_LOOPBACK", RABBITMQ_LOOPBACK="true")
        self.refused("WITH = artcast", WITH="artcast")

    def test_ports_for_operators_that_do_not_exist_or_overlap(self) -> None:
        self.refused("ADMIN_PORT = 65535", ADMIN_PORT="65535")
        self.refused("ADMIN_TLS_PORT = 65535", ADMIN_TLS_PORT="65535")
        self.refused("ADMIN_TLS_PORT = 8082: too close to", ADMIN_PORT="8081", ADMIN_TLS_PORT="8082")
        fits = settings(ADMIN_PORT="8081", ADMIN_TLS_PORT="8083")
        check_workers(fits, AdminPorts.of(fits))
