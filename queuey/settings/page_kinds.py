"""The kinds of settings that only the page has: networks of proxies, people whom a proxy names, and origins."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from queuey.protocol.credentials import SCOPES, Principal, parse_people
from queuey.settings.kinds import Setting

_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?")


def networks(group: str, help: str) -> Setting:
    """Define a list of IP addresses and networks."""

    def parse(items: list[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(_network(item)) for item in items))

    return Setting(
        group=group,
        help=help,
        metavar="NETWORKS",
        allowed="IP addresses and networks, separated by commas, as in 10.0.0.7,10.1.0.0/16",
        parse=parse,
        show=lambda value: ",".join(value) or "none",
        is_list=True,
    )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"contains {text[:50]!r}, which is not an address or a network without host bits") from None


def people(group: str, help: str) -> Setting:
    """Define a list of people with their scopes."""

    def parse(items: list[str]) -> tuple[Principal, ...]:
        return parse_people(items)

    def show(value: tuple[Principal, ...]) -> str:
        return ",".join(f"{person.name}:{'+'.join(map(str, person.grants))}" for person in value) or "none"

    return Setting(
        group=group,
        help=help,
        metavar="PEOPLE",
        allowed=f"name:scope[@queue][+scope[@queue]...], separated by commas; the scopes are {', '.join(SCOPES)}",
        parse=parse,
        show=show,
        is_list=True,
    )


def origins(group: str, help: str) -> Setting:
    """Define a list of origins of web pages."""

    def parse(items: list[str]) -> tuple[str, ...]:
        for item in items:
            if not _ORIGIN.fullmatch(item):
                raise ValueError(f"contains {item[:80]!r}, which is not an origin")
        return tuple(dict.fromkeys(items))

    return Setting(
        group=group,
        help=help,
        metavar="ORIGINS",
        allowed="origins without a path, separated by commas, as in https://portal.example.com",
        parse=parse,
        show=lambda value: ",".join(value) or "none",
        is_list=True,
    )
