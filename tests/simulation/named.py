"""Every fault that the simulation found, as the smallest schedule that shows it (:data:`NAMED`). They are run first.

A fault of the product that is still there is *open*: its schedule must go on finding it, so that the entry is corrected
with the fault. :data:`OPEN` are the invariants that open faults break in ordinary schedules; ``make simulate`` counts
them, and does not fail because of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.simulation.schedule import Action, Schedule

OPEN: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Named:
    """A fault that was found.

    :ivar breaks: the invariant that was broken.
    :ivar open: whether it still is.
    """

    schedule: Schedule
    breaks: str
    open: bool


NAMED = {
    # The publishers' clocks go back. A node that was away compared "when" with what it retained, took what memcached
    # had for older, and kept its stale message until the next one came. It reads the stream now.
    "clock set back while a node is away": Named(
        Schedule(
            45,
            2,
            2,
            2,
            (
                Action(2.55, "publish", 0, 2),
                Action(5.65, "clock back", 0, 0, 3),
                Action(10.2, "broker isolated", 2, 5, 1),
                Action(18.6, "publish", 0, 3),
            ),
            khepri=False,
        ),
        "nothing lost",
        open=False,
    ),
    # A node that heard late, by a slow network or because it was frozen, wrote what it heard to memcached over newer
    # messages there, until it had heard those, too. It mattered to nodes that asked memcached meanwhile. A node reads
    # what is there now, and leaves what it has not heard.
    "late node overwrites memcached": Named(
        Schedule(
            308,
            1,
            3,
            2,
            (
                Action(8.4, "slow client", 2, 3, 2),
                Action(11.55, "publish", 2, 1),
                Action(13.15, "publish", 2, 3),
            ),
        ),
        "memcached",
        open=False,
    ),
    # The confirm is lost, the other nodes have the messages, and their publisher's node is blocked when it sends them
    # again. It caught up from memcached meanwhile: its radios saw the newest one, then the older ones, then the newest
    # one again. It reads the stream now.
    "catch-up before messages are sent again": Named(
        Schedule(
            269,
            1,
            3,
            1,
            (
                Action(7.75, "publish", 2, 2),
                Action(12.3, "lost confirm", 2, 3),
                Action(13.35, "publish", 2, 3),
                Action(14.6, "blocked", 5, 5),
            ),
            khepri=False,
        ),
        "radio order",
        open=False,
    ),
    # The broker has lost its majority, and does not answer the declaration of the stream. The node waited for it for
    # ever: it was connected, and sent and received nothing.
    "declaration of the stream without an answer": Named(
        Schedule(13, 2, 2, 1, (Action(11.1, "broker killed", 3, 4, 2),)),
        "everything recovers",
        open=False,
    ),
    # Two nodes lose their connections. One sends its messages again while the other reads the stream, where these
    # second copies counted as heard before: what was missed on the topic was taken for out of date, and never shown.
    "messages sent again while another node reads the stream": Named(
        Schedule(
            0,
            1,
            2,
            1,
            (
                Action(5.0, "publish", 2, 2),
                Action(15.7, "lost confirm", 1, 3, 1),
                Action(19.4, "publish", 1, 3),
                Action(19.8, "lost confirm", 0, 4),
                Action(20.15, "publish", 2, 2),
            ),
        ),
        "nothing lost",
        open=False,
    ),
    # A node read the stream in part and asked memcached, in the moment after it had heard a message and before anybody
    # had written it. It found the one before. The clock had been set back, so that one was the later one by "when", and
    # was shown again. What a node has heard before is not later.
    "older message in memcached after the clock was set back": Named(
        Schedule(
            436,
            2,
            2,
            2,
            (
                Action(2.15, "publish", 3, 2),
                Action(2.9, "publish", 0, 3),
                Action(12.85, "clock back", 4, 2, 2),
                Action(13.15, "broker parted", 4, 4, 2),
                Action(18.15, "publish", 3, 3),
                Action(20.1, "publish", 0, 1),
            ),
            small=True,
        ),
        "radio order",
        open=False,
    ),
    # The stream had deleted what a node missed. Memcached had it, with an earlier "when" than the node's last message,
    # as the clock had been set back. What replaced a message in memcached is later than it, whatever clocks say.
    "newer message in memcached after the clock was set back": Named(
        Schedule(
            436,
            2,
            2,
            2,
            (
                Action(2.15, "publish", 3, 2),
                Action(2.9, "publish", 0, 3),
                Action(11.75, "publish", 1, 3),
                Action(12.85, "clock back", 4, 2, 2),
                Action(13.15, "broker parted", 4, 4, 2),
                Action(18.15, "publish", 3, 3),
                Action(20.1, "publish", 0, 1),
            ),
            small=True,
        ),
        "nothing lost",
        open=False,
    ),
    # The stream had deleted what a node missed. So the next message had a gap before it: the node gave up its
    # connection to read the stream again, which brought nothing, and meanwhile deleted the message that was in hand.
    "connection given up for what the stream has no more": Named(
        Schedule(
            436,
            2,
            2,
            2,
            (
                Action(2.15, "publish", 3, 2),
                Action(2.9, "publish", 0, 3),
                Action(11.75, "publish", 1, 3),
                Action(13.15, "broker parted", 4, 4, 2),
                Action(16.15, "publish", 0, 2),
                Action(18.15, "publish", 3, 3),
                Action(20.1, "publish", 0, 1),
            ),
            small=True,
        ),
        "everything recovers",
        open=False,
    ),
    # No fault of the product, but of the invariant. The broker node of the log's queue was dead when the first copy was
    # routed. The queue was declared again; then its publisher lost the connection and sent a copy, behind newer ones.
    "first copy while the log's queue did not exist": Named(
        Schedule(
            1102,
            3,
            2,
            1,
            (
                Action(5.95, "broker killed", 4, 4),
                Action(9.65, "publish", 3, 1),
                Action(19.0, "publish", 3, 3),
                Action(19.05, "broker killed", 5, 2, 1),
            ),
        ),
        "once and in order",
        open=False,
    ),
    # A frozen watchdog went on at the moment when its connection was lost. The reading failed, which was logged as an
    # error before the connection had said that it was lost.
    "connection lost at the begin of consuming": Named(
        Schedule(600, 2, 2, 2, (Action(2.05, "broker killed", 1, 5), Action(3.1, "paused", 4, 5, 2))),
        "no errors inside",
        open=False,
    ),
    # The stream was down, and a node showed what memcached told. What its publisher had no confirm for was sent again
    # after CONFIRM_SECONDS: radios of that node got the older ones of these messages behind the newest, and then the
    # newest once more. Messages have their publishers' numbers in memcached, too, now.
    "older ones sent again after memcached told": Named(
        Schedule(
            1542,
            2,
            2,
            1,
            (
                Action(3.4, "publish", 2, 1),
                Action(8.45, "broker killed", 5, 5),
                Action(10.1, "publish", 2, 3),
                Action(17.8, "reset", 1, 1),
            ),
        ),
        "radio order",
        open=False,
    ),
    # The stream was down, and nodes showed what memcached told. Its publisher had no confirm, as the stream was down,
    # and sent it again: their radios got it twice.
    "sent again after memcached told": Named(
        Schedule(1271, 2, 3, 1, (Action(2.2, "broker killed", 4, 4, 2), Action(2.25, "publish", 1, 1)), small=True),
        "radio order",
        open=False,
    ),
    # No fault of the product, but of the model. Its small stream deleted messages while a node read it, which had them
    # in its own queue, too: by the later ones of their publisher, which it had read, it took them for heard. A stream
    # of 32 MiB would have to be filled anew within the seconds of a reading.
    "stream overrun while it is read": Named(
        Schedule(
            652,
            1,
            2,
            2,
            (
                Action(4.75, "publish", 3, 2),
                Action(5.65, "broker killed", 2, 4, 2),
                Action(7.5, "publish", 0, 2),
                Action(9.45, "publish", 2, 1),
                Action(13.3, "publish", 2, 3),
                Action(15.05, "publish", 2, 3),
                Action(16.8, "publish", 2, 2),
            ),
            small=True,
        ),
        "nothing lost",
        open=False,
    ),
    # All nodes and memcached were killed, and while the nodes started again the stream had lost one of its two brokers.
    # They waited 5 s, and went on with what memcached had, that is nothing, until their next connection. They look for
    # the stream again now.
    "stream away at the start of all": Named(
        Schedule(
            4806,
            2,
            2,
            2,
            (
                Action(3.05, "publish", 1, 3),
                Action(3.4, "all killed", 5, 5, 1),
                Action(6.35, "broker killed", 1, 3),
            ),
        ),
        "nothing lost",
        open=False,
    ),
    # A leader was frozen with messages in hand. The broker gave them to the next leader behind what that one had logged
    # meanwhile: nothing was lost, and the log was not in order. The next leader waits for the first consumer's end now.
    "log of two leaders": Named(
        Schedule(4137, 1, 2, 2, (Action(4.05, "paused", 3, 5, 2), Action(8.6, "publish", 1, 3)), small=True),
        "once and in order",
        open=False,
    ),
    # No fault of the product, but of the end of a schedule: a node that had not been able to read the stream looked for
    # it again, 5 s later, and connected anew while the end was judged.
    "stream read again at the end": Named(
        Schedule(
            2357,
            2,
            2,
            1,
            (
                Action(16.25, "broker killed", 0, 5, 1),
                Action(16.3, "node restarted", 2, 0),
                Action(21.5, "publish", 2, 1),
            ),
        ),
        "everything recovers",
        open=False,
    ),
    # As "older ones sent again after memcached told", but a default came between: the message was shown again. What
    # memcached told is remembered until its publisher has gone on.
    "sent again after memcached told and a default": Named(
        Schedule(8330, 2, 2, 2, (Action(12.7, "publish", 3, 1), Action(12.7, "broker killed", 2, 4, 0))),
        "radio order",
        open=False,
    ),
    # The stream had deleted messages, and kept copies of them that were sent again, behind later messages of their
    # publisher. All nodes had been killed, and took the copies for heard before.
    "only copies are left in the stream": Named(
        Schedule(
            15305,
            1,
            2,
            1,
            (
                Action(13.55, "publish", 1, 3),
                Action(16.6, "lost confirm", 1, 1, 1),
                Action(20.0, "publish", 3, 2),
                Action(20.65, "all killed", 0, 4, 2),
            ),
            small=True,
        ),
        "nothing lost",
        open=False,
    ),
    # The same, but the other nodes had not heard the message before, and wrote it to memcached again: a node that had
    # shown it was told a second time.
    "told twice by memcached, and a default between": Named(
        Schedule(
            16340,
            3,
            3,
            1,
            (
                Action(10.25, "broker parted", 0, 5, 1),
                Action(10.85, "publish", 3, 2),
                Action(10.9, "publish", 3, 1),
                Action(11.15, "publish", 0, 3),
                Action(12.55, "publish", 1, 3),
                Action(15.0, "node killed", 5, 4, 1),
                Action(15.1, "publish", 1, 2),
                Action(17.55, "publish", 1, 2),
                Action(19.9, "broker killed", 4, 1, 2),
            ),
            small=True,
        ),
        "radio order",
        open=False,
    ),
    # The first repair of "only copies are left in the stream": a node that had heard the messages, but had not been
    # able to read the stream so far, took their copies for unheard ones at its first reading.
    "copies in the stream of what was heard": Named(
        Schedule(
            76,
            2,
            2,
            2,
            (
                Action(4.2, "node restarted", 5, 4, 0),
                Action(5.85, "broker killed", 1, 5, 2),
                Action(18.85, "publish", 3, 3),
                Action(21.25, "publish", 3, 2),
            ),
            small=True,
        ),
        "once and in order",
        open=False,
    ),
}
