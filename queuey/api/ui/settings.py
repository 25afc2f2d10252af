"""The settings of the page and its sessions."""

from __future__ import annotations

import ipaddress
from typing import Final

from msgspec import Struct

from queuey.protocol.credentials import Principal
from queuey.protocol.models import UiMode
from queuey.settings.settings import Settings


class UiSettings(Struct, frozen=True):
    """The rights of the page, and the proxies that it believes. `header`: its lower-case name."""

    mode: UiMode = "full"
    is_https: bool = False
    frame_ancestors: tuple[str, ...] = ()
    header: bytes | None = None
    people: tuple[Principal, ...] = ()
    trusted: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> UiSettings:
        """Return them, taken from the settings of a server."""
        header = settings.ui_header
        return cls(
            settings.ui,
            settings.ui_https == "yes",
            settings.ui_frame_ancestors,
            None if header is None else header.lower().encode("ascii"),
            settings.ui_header_grants,
            tuple(map(ipaddress.ip_network, settings.ui_trusted)),
        )


PLAIN_UI: Final = UiSettings()
