"""Real ``server.py`` processes, seen from outside: started with flags and settings, ready, logged, ended.

    with Server("--test", RABBITMQ_LOOPBACK=True) as server:
        radio = Radio.connect(server.address)
        ...
        server.wait_for("subscription.moved")
        server.terminate()                    # SIGTERM; the exit code is checked

Everything here blocks, with time limits.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

from tests import services

ROOT = Path(__file__).parent.parent
SECONDS = 60.0  # A server is ready after one; two busy cores have been seen to need ten.
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")  # Nothing else: a setting of the developer's must not get in.
_FAULTS = ("error", "critical", "raw")

Event = dict[str, Any]
Address = tuple[str, int]


class ProcessError(AssertionError):
    """A process did not do what was waited for. The text ends with what it logged."""


class Server:
    """One process of ``server.py``, in a temporary folder of its own, on free ports of 127.0.0.1.

    :ivar folder: its working folder; put a ``config.py`` or a stations file there before :meth:`start`.
    :ivar address: where it speaks STOMP.
    :ivar command: what is run, with its arguments.
    :ivar log: every event it has logged, oldest first; a line that is no JSON is ``{"event": line, "level": "raw"}``.
    """

    def __init__(self, *flags: str, **settings: object) -> None:
        """
        :param flags: as on a command line, such as ``--test``.
        :param settings: environment variables; a free ``STOMP_PORT``, ``LOG_FORMAT=json``, ``DRAIN_SECONDS=0`` and no
            memcached unless given otherwise. None leaves one out. A name with dots is that of a constant, such
            as ``fanout.stomp.limits.CONNECT_SECONDS``; see :mod:`tests.constants`.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="radiovis-server-"))
        self.log: list[Event] = []
        self.command = [sys.executable, str(ROOT / "server.py"), *flags]
        self._constants = {name: value for name, value in settings.items() if "." in name}
        self._settings: dict[str, object] = {
            "STOMP_IP": "127.0.0.1",
            "STOMP_PORT": services.free_port(),
            "HTTP_IP": "127.0.0.1",
            "HTTP_PORT": 0,
            "ADMIN_PORT": 0,
            "LOG_FORMAT": "json",
            "MEMCACHED_HOST": "",
            "DRAIN_SECONDS": 0,
            **{name: value for name, value in settings.items() if name not in self._constants},
        }
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._news = threading.Condition()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # Life

    def start(self) -> Self:
        """Start it, and return when it listens. Ports that were free ones stay the same after a :meth:`kill`."""
        self.launch()
        try:
            ready = self.wait_for("server.ready")
        except ProcessError:
            self.close()
            raise
        for name, setting in (("stomp", "STOMP_PORT"), ("http", "HTTP_PORT"), ("admin", "ADMIN_PORT")):
            if name in ready:
                self._settings[setting] = _address(ready[name])[1]
        return self

    def launch(self) -> None:
        """Start it without waiting for anything: for servers that are not to start."""
        if self._process is not None:
            raise ProcessError("it is running already")
        self.log.clear()
        environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        environment |= {name: str(value) for name, value in self._settings.items() if value is not None}
        program, *arguments = self.command
        if self._constants:
            arguments = [str(ROOT / "tests" / "constants.py"), json.dumps(self._constants), *arguments]
        self._process = subprocess.Popen(
            [program, *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def terminate(self, exit_code: int = 0) -> None:
        """End it in order (SIGTERM), and check the exit code."""
        self._signal(signal.SIGTERM)
        found = self.exit_code()
        if found != exit_code:
            raise ProcessError(f"exit code {found} instead of {exit_code}{self._tail()}")

    def hang_up(self) -> None:
        """Have it read its settings again (SIGHUP)."""
        self._signal(signal.SIGHUP)

    def ask_to_end(self) -> None:
        """SIGTERM, without waiting for the end."""
        self._signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """What Ctrl-C does (SIGINT)."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, as in a crash; :meth:`start` brings it back on the same ports."""
        self._signal(signal.SIGKILL)
        self.exit_code()

    def pause(self) -> None:
        """Freeze it: its connections stay open and nothing happens on them."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def exit_code(self, seconds: float = SECONDS) -> int:
        """Wait for its end. What it logged until then is all in :attr:`log`."""
        process, reader = self._running(), self._reader
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"it still runs after {seconds} s{self._tail()}") from None
        if reader is not None:
            reader.join(seconds)
        self._process = None
        return code

    def close(self) -> None:
        """End it, if it still runs, and remove its folder. May be called twice."""
        if self._process is not None:
            self._process.kill()
            self.exit_code()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What it tells

    @property
    def address(self) -> Address:
        return _address(self.wait_for("server.ready")["stomp"])

    @property
    def http(self) -> Address:
        """Where it serves HTTP; only with ``SLIDES_DIR``."""
        return _address(self.wait_for("server.ready")["http"])

    @property
    def admin(self) -> Address:
        """Where operators ask; only with an ``ADMIN_PORT``."""
        return _address(self.wait_for("server.ready")["admin"])

    @property
    def text(self) -> str:
        """What it wrote on stderr, for people."""
        return "\n".join(
            str(event["event"]) if event.get("level") == "raw" else json.dumps(event) for event in self.log
        )

    def events(self, name: str, **fields: object) -> list[Event]:
        """The events of this name logged so far, with these fields."""
        with self._news:
            return [event for event in self.log if _matches(event, name, fields)]

    def wait_for(self, name: str, *, count: int = 1, seconds: float = SECONDS, **fields: object) -> Event:
        """Wait until so many events of this name, with these fields, have been logged since the start; the last one."""
        deadline = time.monotonic() + seconds
        with self._news:
            while len(found := [event for event in self.log if _matches(event, name, fields)]) < count:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ProcessError(f"no {name} {fields or ''} within {seconds} s{self._tail()}")
                if self._process is not None and self._process.poll() is not None and not self._reading():
                    raise ProcessError(f"it ended before {name}{self._tail()}")
                self._news.wait(min(left, 0.2))
            return found[count - 1]

    @property
    def faults(self) -> list[Event]:
        """What must never be logged: errors of the server's own."""
        with self._news:
            return [
                event for event in self.log if event["level"] in ("error", "critical", "raw") or "exception" in event
            ]

    # What it costs

    @property
    def pid(self) -> int:
        return self._running().pid

    def open_files(self) -> int:
        """File descriptors it holds; a connection is one."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def memory(self) -> int:
        """Octets of physical memory it uses."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    # Inside

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise ProcessError("it is not running")
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        self._running().send_signal(number)

    def _reading(self) -> bool:
        return self._reader is not None and self._reader.is_alive()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                with self._news:
                    self.log.append(_event(line.rstrip("\n")))
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _tail(self) -> str:
        lines = self.text.splitlines()[-20:]
        return ". The end of its log:\n" + "\n".join(lines)


def node(*flags: str, **settings: object) -> Server:
    """A node by itself with the stations of ``--test``, not yet started."""
    return Server("--test", "--rabbitmq-loopback", *flags, **settings)


def _event(line: str) -> Event:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) and "event" in event else {"event": line, "level": "raw"}


def _matches(event: Event, name: str, fields: dict[str, object]) -> bool:
    return event["event"] == name and all(event.get(field) == value for field, value in fields.items())


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
