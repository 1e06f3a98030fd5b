"""Machines of their own: network namespaces, joined by a bridge, with a route for multicast or without."""

from __future__ import annotations

import functools
import os
import subprocess
from typing import Self

_LAN = "artlan"


@functools.cache
def missing() -> str:
    """Why there are none here; empty if they can be made."""
    probe = f"artcast{os.getpid()}-probe"
    try:
        made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False, timeout=30)
    except FileNotFoundError:
        return "there is no ip; make test installs iproute2"
    if made.returncode:
        return "network namespaces cannot be made here: they need root, and the right to mount"
    _ip(f"netns delete {probe}")
    return ""


class Machines:
    """Some machines in one network of multicast, ``10.77.0.1`` and on.

    :ivar addresses: of each.
    """

    def __init__(self, count: int, *, joined: bool = True) -> None:
        """:param joined: False for machines with nothing but a loopback interface."""
        self._name = f"artcast{os.getpid()}"
        self._joined = joined
        self.addresses = [f"10.77.0.{number + 1}" for number in range(count)]

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in [*self._names(), self._name]:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def within(self, number: int) -> list[str]:
        """What to put before a command that shall run on a machine."""
        return ["ip", "netns", "exec", self._names()[number]]

    def _names(self) -> list[str]:
        return [f"{self._name}-{number}" for number in range(len(self.addresses))]

    def _make(self) -> None:
        """The network is a bridge in a namespace of its own, so that nothing of it shows outside."""
        _ip(f"netns add {self._name}")
        _ip(f"-n {self._name} link add {_LAN} type bridge mcast_snooping 0")
        _ip(f"-n {self._name} link set {_LAN} up")
        for number, (name, address) in enumerate(zip(self._names(), self.addresses, strict=True)):
            _ip(f"netns add {name}")
            _ip(f"-n {name} link set lo up")
            if self._joined:
                _ip(f"-n {self._name} link add port{number} type veth peer name eth0 netns {name}")
                _ip(f"-n {self._name} link set port{number} master {_LAN} up")
                _ip(f"-n {name} address add {address}/24 dev eth0")
                _ip(f"-n {name} link set eth0 up")
                _ip(f"-n {name} route add 224.0.0.0/4 dev eth0")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], capture_output=True, check=True, timeout=30)
