"""The table of all faults. A new one: a class in a file of this folder, and a line here."""

from __future__ import annotations

from typing import Final

from tests.faults.faults.base import Fault
from tests.faults.faults.connections import CutConnections, CutOneWay, DropReplies, Latency
from tests.faults.faults.deeds import BlockLoop, KillChild, Poison
from tests.faults.faults.processes import KillServer, StopServer, TerminateServer
from tests.faults.faults.stores import BusyScript, FlushScripts, KillStore, KillStoreInRewrite

_TABLE: Final[tuple[type[Fault], ...]] = (
    KillServer,
    StopServer,
    TerminateServer,
    BlockLoop,
    KillChild,
    Poison,
    KillStore,
    KillStoreInRewrite,
    FlushScripts,
    BusyScript,
    CutConnections,
    CutOneWay,
    Latency,
    DropReplies,
)
FAULTS: Final = {fault.name: fault for fault in _TABLE}
