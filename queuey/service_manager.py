"""Reports to the service manager that started this process, such as systemd with Type=notify."""

from __future__ import annotations

import socket
from typing import Final

from queuey import log

READY: Final = b"READY=1"
STOPPING: Final = b"STOPPING=1"

logger = log.get(__name__)


def notify(address: str | None, state: bytes) -> None:
    """Send READY or STOPPING to the socket at this address, as sd_notify(3) does; "@" begins an abstract one.

    Nothing is sent if there is no address. A manager that cannot be reached is logged: this process can work without.
    """
    if address is None:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.send(state)
    except (OSError, ValueError) as error:  # ValueError: the address has a zero byte or is not text
        logger.warning("service_manager_unreachable", address=address, state=state.decode(), error=str(error))
