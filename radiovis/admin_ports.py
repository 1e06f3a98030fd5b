"""Where operators ask a program, and what has to be set for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from fanout.doors.guard import Guard, is_loopback
from fanout.settings import SettingsError
from radiovis.settings import Settings

_REALM = "RadioVIS operators"


@dataclass(frozen=True, slots=True)
class AdminPorts:
    """The ports of one program's operators' listener.

    :ivar ip: the address of both.
    :ivar plain: the one in the clear; 0 for none.
    :ivar secure: the one with TLS; likewise.
    :ivar setting: the name of the setting of the plain one.
    :ivar chosen: whether somebody has asked for just this plain one.
    """

    ip: str
    plain: int
    secure: int
    setting: str
    chosen: bool

    @classmethod
    def of(cls, settings: Settings, prefix: str = "", *, fake: bool = False, worker: bool = False) -> Self:
        """As the settings say.

        :param prefix: of their names: ``FB_`` for ``fallback.py``.
        :param fake: ``--test`` mode. Test suites start many nodes, which have a plain port where it is asked for.
        :param worker: for one of several workers, whose parent has the port with TLS.
        """
        setting = f"{prefix}ADMIN_PORT"
        chosen = settings.source_of(setting) != "default"
        return cls(
            ip=settings.ADMIN_IP,
            plain=0 if fake and not chosen else getattr(settings, setting),
            secure=0 if worker else getattr(settings, f"{prefix}ADMIN_TLS_PORT"),
            setting=setting,
            chosen=chosen,
        )

    @property
    def wanted(self) -> bool:
        """Whether there is to be a listener."""
        return bool(self.plain or self.secure)

    @property
    def secure_setting(self) -> str:
        """The name of the setting of the one with TLS."""
        return self.setting.replace("ADMIN_PORT", "ADMIN_TLS_PORT")

    def guard(self, settings: Settings) -> Guard:
        """Who may ask there. :raises SettingsError: everybody might."""
        token = settings.ADMIN_TOKEN.get_secret_value()
        if not token and not is_loopback(self.ip):
            raise SettingsError(
                f"ADMIN_IP = {self.ip}: others get there, so set ADMIN_TOKEN, too; or {self.setting} = 0."
            )
        if self.secure and not (token and settings.TLS_CERTIFICATE):
            name = self.secure_setting
            raise SettingsError(f"{name}: others get there, so set ADMIN_TOKEN and TLS_CERTIFICATE, too; or 0.")
        return Guard(token, _REALM)
