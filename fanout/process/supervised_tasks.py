"""Supervised tasks: each one repeats its work, and a failure of one does not affect the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.python.failure import Failure

from fanout.process.logs import Throttle

log = structlog.get_logger()

FIRST_PAUSE = 1.0
"""Seconds until a failed task is run again; each further failure doubles the pause."""
LAST_PAUSE = 60.0
"""Longest of these pauses in seconds. An operator who repaired something sees the effect within this time."""
ROUND_LIMIT = 300.0
"""Seconds that one round may take. Without this limit a task that hangs would do nothing, and look as if it worked."""

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class TaskState:
    """The state of a task, for status and health pages. Times are Unix times in seconds.

    :ivar name: name of the task.
    :ivar failing: whether its last round failed.
    :ivar last_success: when a round last ended without an error; None if none has yet.
    :ivar last_error: the text of the last error, even if later rounds succeeded; empty if there was no error.
    :ivar last_error_at: when that error happened; None if there was no error.
    :ivar restarts: how often the task was run again after a failure.
    """

    name: str
    failing: bool
    last_success: float | None
    last_error: str
    last_error_at: float | None
    restarts: int


@dataclass(frozen=True, slots=True)
class SupervisorPolicy:
    """How the supervisor reacts to failures.

    :ivar first_pause: seconds after a first failure.
    :ivar last_pause: the longest pause in seconds.
    :ivar round_limit: seconds that one round may take before it counts as failed.
    :ivar explained: errors whose text is sufficient; any other error is logged with its traceback.
    """

    first_pause: float = FIRST_PAUSE
    last_pause: float = LAST_PAUSE
    round_limit: float = ROUND_LIMIT
    explained: tuple[type[Exception], ...] = ()

    def pause(self, failures: int) -> float:
        """The pause in seconds after the n-th failure in a row."""
        return min(self.first_pause * 2.0 ** min(failures - 1, 30), self.last_pause)


DEFAULT_SUPERVISOR_POLICY = SupervisorPolicy()


class Task:
    """Work that is done in rounds, one after the other. Use :meth:`Supervisor.spawn` to create a task."""

    def __init__(
        self,
        clock: Any,
        name: str,
        work: Work,
        interval: float,
        retry_policy: SupervisorPolicy,
        unix_time: Callable[[], float],
    ) -> None:
        self.name = name
        self._clock = clock
        self._work = work
        self._interval = interval
        self._retry_policy = retry_policy
        self._failures = 0
        self._restarts = 0
        self._unix_time = unix_time
        self._last_success: float | None = None
        self._last_error = ""
        self._last_error_at: float | None = None
        self._hurried = False
        self._call: Any = None
        self._round: Deferred[None] | None = None
        self._began = 0.0
        self._throttle = Throttle(clock.seconds)
        self._ended: Deferred[None] | None = None

    @property
    def state(self) -> TaskState:
        """The current state of the task."""
        return TaskState(
            self.name,
            self._failures > 0,
            self._last_success,
            self._last_error,
            self._last_error_at,
            self._restarts,
        )

    def hurry(self) -> None:
        """Start the next round now, or right after the current one, because something happened that cannot wait."""
        if self._ended is not None:
            return
        if self._round is not None:
            self._hurried = True
        elif self._call is not None:
            self._call.reset(0)

    def begin(self, after: float) -> None:
        """Start the first round after this number of seconds, or earlier if :meth:`hurry` is called."""
        self._call = self._clock.callLater(after, self._do_round)

    def end(self, patience: float) -> Deferred[None]:
        """Let the current round end, and start no other. The Deferred fires when the round has ended.

        :param patience: seconds after which the round is cancelled.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._round is None:
            self._ended = succeed(None)
        elif self._ended is None:
            self._ended = Deferred()
            self._call = self._clock.callLater(patience, self._cancel)
        return self._ended

    def _cancel(self) -> None:
        self._call = None
        log.warning("task.cancelled", task=self.name, reason="its round did not end in time to stop")
        assert self._round is not None
        self._round.cancel()

    def _do_round(self) -> None:
        self._call = None
        self._hurried = False
        self._began = self._clock.seconds()
        self._restarts += self._failures > 0
        self._round = Deferred.fromCoroutine(self._work())
        self._round.addTimeout(self._retry_policy.round_limit, self._clock)
        self._round.addCallbacks(self._succeeded, self._failed).addCallback(self._after)

    def _succeeded(self, _: object) -> float:
        if self._failures:
            log.info("task.recovered", task=self.name, failures=self._failures)
        self._failures = 0
        self._last_success = self._unix_time()
        lasted: float = self._clock.seconds() - self._began
        return max(0.0, self._interval - lasted)

    def _failed(self, failure: Failure) -> float:
        """Handle a failed round. The same error is logged at most once a minute; the state shows that it continues."""
        if self._ended is not None and failure.check(CancelledError):
            return 0.0
        error = self._in_words(failure)
        self._failures += 1
        pause = min(self._retry_policy.pause(self._failures), self._interval)
        if self._throttle.allow(error):
            self._log(failure, error, pause)
        self._last_error, self._last_error_at = error, self._unix_time()
        return pause

    def _after(self, pause: float) -> None:
        self._round = None
        if self._ended is not None:
            if self._call is not None:
                self._call.cancel()
                self._call = None
            self._ended.callback(None)
            return
        self._call = self._clock.callLater(0 if self._hurried else pause, self._do_round)

    def _in_words(self, failure: Failure) -> str:
        if failure.check(TookTooLong):
            return f"a round took longer than {self._retry_policy.round_limit:g} s"
        return failure.getErrorMessage() or type(failure.value).__name__

    def _log(self, failure: Failure, error: str, pause: float) -> None:
        held_back = self._throttle.held_back(error)
        fields = {"task": self.name, "reason": error, "retry_in": round(pause, 1), "held_back": held_back}
        if failure.check(TookTooLong, *self._retry_policy.explained):
            log.warning("task.failed", **fields)
        else:
            exc_info = (failure.type, failure.value, failure.getTracebackObject())
            log.error("task.failed", **fields, exc_info=exc_info)


class Supervisor:
    """Runs tasks concurrently.

    When a task raises, the error is logged and counted, and the task is run again after a growing pause, at the latest
    at the time of its next regular round.
    """

    def __init__(
        self,
        clock: Any,
        retry_policy: SupervisorPolicy = DEFAULT_SUPERVISOR_POLICY,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """
        :param clock: Twisted's reactor.
        :param retry_policy: how the supervisor reacts to failures.
        :param unix_time: Unix time in seconds, for the states.
        """
        self._clock = clock
        self._unix_time = unix_time
        self._retry_policy = retry_policy
        self._tasks: list[Task] = []

    def spawn(self, name: str, work: Work, interval: float, after: float = 0) -> Task:
        """Start a task.

        :param name: name of the task.
        :param work: does one round. If it raises, the error is logged.
        :param interval: seconds from the start of one round to the start of the next.
        :param after: seconds until the first round.
        """
        task = Task(self._clock, name, work, interval, self._retry_policy, self._unix_time)
        self._tasks.append(task)
        task.begin(after)
        return task

    def states(self) -> tuple[TaskState, ...]:
        """The states of the tasks, in the order in which they were started."""
        return tuple(task.state for task in self._tasks)

    def stop(self, patience: float) -> Deferred[None]:
        """Start no more rounds. The Deferred fires when the current ones have ended.

        :param patience: seconds after which they are cancelled.
        """
        ended = DeferredList([task.end(patience) for task in self._tasks])
        return ended.addCallback(lambda _: None)
