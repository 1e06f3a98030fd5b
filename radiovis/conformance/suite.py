"""All checks in their order, the choice of some, and the first contact with the server.

==================  ===============================================================
``negotiation.py``  N: CONNECT and versions · H: heart-beats
``frames.py``       F: line ends, bodies, escapes
``behaviour.py``    C: commands · R: receipts and errors · T: half-closed connections
``receivers.py``    L: lessons of real receivers · M: STOMP 1.0 · V: RadioVIS
``bad_input.py``    B: input that must not harm a server
==================  ===============================================================
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from radiovis.client.arguments import CommandError
from radiovis.client.sockets import connect_error
from radiovis.conformance import bad_input, behaviour, frames, negotiation, receivers
from radiovis.conformance.check import ConformanceCheck
from radiovis.conformance.subject import Subject

CHECKS = (*negotiation.CHECKS, *frames.CHECKS, *behaviour.CHECKS, *receivers.CHECKS, *bad_input.BAD_INPUT_CHECKS)


def chosen(patterns: Sequence[str]) -> list[ConformanceCheck]:
    """The checks whose number matches a pattern, such as ``N1`` or ``F*``.

    :raises LookupError: a pattern matches none; the text is the pattern.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(check.id, pattern) for check in CHECKS):
            raise LookupError(pattern)
    return [check for check in CHECKS if any(fnmatch.fnmatchcase(check.id, pattern) for pattern in patterns)]


def reach(subject: Subject) -> None:
    """Open one connection, to report an unreachable server once and not for every check.

    :raises CommandError: it cannot be opened.
    """
    try:
        subject.connect()
    except OSError as error:
        raise CommandError(connect_error(subject.server, error)) from None
    finally:
        subject.close_all()
