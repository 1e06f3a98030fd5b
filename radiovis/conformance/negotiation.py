"""Checks of CONNECT, versions, login and heart-beats."""

from __future__ import annotations

from radiovis.conformance.check import CheckList
from radiovis.conformance.subject import CheckFailed, Subject, shown

CHECKS = CheckList()
PATIENCE = 60
"""Seconds within which a server must close a silent connection. Our server, the BBC's and RabbitMQ take 10 s, ActiveMQ
takes 30 s, and the original never closes it. Some send an ERROR first."""


@CHECKS.add("N1", "a first frame that is not CONNECT gets an ERROR, and the connection ends")
def _first_frame(subject: Subject) -> None:
    client = subject.connect()
    client.say(f"SUBSCRIBE id:1 destination:{subject.topic()}")
    client.refused()


@CHECKS.add("N2", "a plain CONNECT is accepted without a login, as STOMP 1.0")
def _plain_connect(subject: Subject) -> None:
    client = subject.connect()
    client.say("CONNECT")
    version = client.expect("CONNECTED", "session").get("version")
    if version not in (None, "1.0"):
        raise CheckFailed(f"it chose STOMP {version} for a client without accept-version")


@CHECKS.add("N2a", "empty login and passcode mean no login")
def _empty_login(subject: Subject) -> None:
    client = subject.connect()
    client.say("CONNECT login: passcode:")
    client.expect("CONNECTED")


@CHECKS.add("N3", "the highest common version is chosen; the order of accept-version does not matter")
def _highest_version(subject: Subject) -> None:
    for offered, chosen in (("1.0,1.2,1.1", "1.2"), ("1.1,1.0", "1.1"), ("1.1,9.9", "1.1")):
        client = subject.connect()
        client.say(f"CONNECT accept-version:{offered} host:{subject.host}" + _login(subject))
        client.speak(chosen)
        client.expect("CONNECTED", "version", chosen)


@CHECKS.add("N4", "a CONNECT without a common version gets an ERROR with a version header, and the connection ends")
def _no_common_version(subject: Subject) -> None:
    client = subject.connect()
    client.say(f"CONNECT accept-version:9.9 host:{subject.host}")
    if client.refused().get("version") is None:
        raise CheckFailed("its ERROR has no version header")


@CHECKS.add("N5", "CONNECTED under 1.2 has the headers version, session and heart-beat")
def _connected_headers(subject: Subject) -> None:
    client = subject.connect()
    client.say(f"CONNECT accept-version:1.2 host:{subject.host} heart-beat:0,0" + _login(subject))
    connected = client.expect("CONNECTED", "version", "1.2")
    missing = [name for name in ("session", "heart-beat") if connected.get(name) is None]
    if missing:
        raise CheckFailed(f"CONNECTED has no {' and no '.join(missing)} header")


@CHECKS.add("N5a", "the command STOMP is accepted in place of CONNECT under 1.2")
def _stomp_command(subject: Subject) -> None:
    client = subject.connect()
    client.say(f"STOMP accept-version:1.2 host:{subject.host}" + _login(subject))
    client.expect("CONNECTED", "version", "1.2")


@CHECKS.add("N6", "a CONNECT without host is accepted, because receivers forget it; or it gets an ERROR")
def _no_host(subject: Subject) -> str | None:
    """The version does not matter. STOMP 1.1 and 1.2 allow a server with virtual hosts to require the header."""
    offered = "CONNECT accept-version:1.0,1.1,1.2"
    client = subject.connect()
    client.say(offered + _login(subject))
    answer = client.frame()
    if answer.command == "CONNECTED":
        return None
    if answer.command != "ERROR":
        raise CheckFailed(f"instead of CONNECTED it sent {shown(answer)}")
    client.ends()
    client = subject.connect()
    client.say(f"{offered} host:{subject.host}" + _login(subject))
    client.expect("CONNECTED")
    return "it requires a host header, which STOMP 1.1 and 1.2 allow; receivers that do not send it cannot connect"


@CHECKS.add("N7", "a wrong passcode gets an ERROR, and the connection ends; later frames are not processed")
def _wrong_passcode(subject: Subject) -> None:
    login, _ = subject.credentials()
    client = subject.connect()
    client.send(
        f"CONNECT\n{login}\npasscode:wrong-one\n\n\0SEND\ndestination:{subject.topic()}\nreceipt:1\n\n\0".encode()
    )
    client.refused()


@CHECKS.add("N7a", "blanks around login and passcode are ignored (Pure)")
def _blanks_round_login(subject: Subject) -> None:
    login, passcode = (header.replace(":", ": ") + " " for header in subject.credentials())
    client = subject.connect()
    client.send(f"CONNECT\n{login}\n{passcode}\n\n\0".encode())
    client.expect("CONNECTED")


@CHECKS.add("N8", "a second CONNECT under 1.2 gets an ERROR, and the connection ends")
def _second_connect(subject: Subject) -> None:
    client = subject.radio("1.2")
    client.say(f"CONNECT accept-version:1.2 host:{subject.host}")
    client.refused()


@CHECKS.add("N9", "a client may send SUBSCRIBE after CONNECT without waiting for CONNECTED")
def _pipelined(subject: Subject) -> None:
    client = subject.connect()
    connect = f"CONNECT accept-version:1.2 host:{subject.host}".replace(" ", "\n") + _login(subject).replace(" ", "\n")
    client.send(f"{connect}\n\n\0SUBSCRIBE\nid:1\ndestination:{subject.topic()}\nreceipt:7\n\n\0".encode())
    client.speak("1.2")
    client.expect("CONNECTED")
    client.expect("RECEIPT", "receipt-id", "7")


@CHECKS.add("H1", "a client that wants heart-beats gets them (FM-DX closes the connection after 30 s of silence)")
def _heart_beats(subject: Subject) -> None:
    client = subject.connect()
    client.say(f"CONNECT accept-version:1.1 host:{subject.host} heart-beat:0,1000" + _login(subject))
    client.speak("1.1")
    beat = client.expect("CONNECTED", "heart-beat").get("heart-beat") or ""
    if not beat.partition(",")[0].strip("0"):
        raise CheckFailed(f"it offers no heart-beats: heart-beat:{beat}")
    sent = max(1.0, int(beat.partition(",")[0]) / 1000)
    if not client.octets_for(2 * sent + 1):
        raise CheckFailed(f"no heart-beat came within {2 * sent + 1:g} s, although it promised one every {sent:g} s")


@CHECKS.add("H2", "a heart-beat header that is not a pair of numbers gets an ERROR")
def _bad_heart_beat(subject: Subject) -> None:
    client = subject.connect()
    client.say(f"CONNECT accept-version:1.2 host:{subject.host} heart-beat:abc" + _login(subject))
    client.refused()


@CHECKS.add("N10", f"a client that sends nothing, or half a CONNECT, is disconnected within {PATIENCE} s (BBC)")
def _silence(subject: Subject) -> None:
    silent, slow = subject.connect(), subject.connect()
    slow.send(b"CONNECT\nlogin:")
    for client in (silent, slow):
        client.gives_up(PATIENCE)


def _login(subject: Subject) -> str:
    """The headers of a login; empty if no login was given."""
    return " " + " ".join(subject.credentials()) if subject.server.login else ""
