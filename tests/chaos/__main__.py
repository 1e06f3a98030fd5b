"""``python -m tests.chaos``: see ``make chaos``. The exit code is 0 only if nothing was lost, doubled or disordered."""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import time

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from tests.chaos.parts import FAULTS
from tests.chaos.run import Figures, InterruptedRunError, Plan, Run


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--radios", type=int, default=500)
    parser.add_argument("--publishers", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1.0, help="publishes of each publisher per second")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS), help="(default: all)")
    parser.add_argument("--broker-nodes", type=int, default=3)
    return Plan(**vars(parser.parse_args()))


def main() -> int:
    """Run it, and print the figures."""
    logging.disable(logging.CRITICAL)
    plan, began = _plan(), time.monotonic()
    outcome: list[Figures | Failure] = []

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", file=sys.stderr, flush=True)

    def start() -> None:
        say(f"seed {plan.seed}")
        deferToThread(run.go).addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    run = Run(reactor, plan, say)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: run.interrupt())  # Twisted's would stop the reactor under the running thread.
    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)
    found = outcome[0]
    if isinstance(found, Failure) and found.check(InterruptedRunError):
        print("interrupted")
        return 1
    if isinstance(found, Failure):
        print(found.getTraceback())
        return 1
    print("\n".join(found.lines()))
    return 0 if found.good else 1


if __name__ == "__main__":
    sys.exit(main())
