"""The table of all faults. A new one: a class in a file of this folder, and a line here."""

from __future__ import annotations

from typing import Final

from tests.faults.faults.apps import Roll, RollTen, TwoApps
from tests.faults.faults.base import Fault
from tests.faults.faults.clocks import ReplicaClock, StoreClock
from tests.faults.faults.connections import CutConnections, CutOneWay, DropReplies, Latency, LoseOffers
from tests.faults.faults.deeds import BlockLoop, KillChild
from tests.faults.faults.disk import DiskFull
from tests.faults.faults.failover import Failover
from tests.faults.faults.poison import Poison, TwoPoisons
from tests.faults.faults.power import PowerCut, PowerCutInRewrite, TornPowerCut, ZeroFilledPowerCut
from tests.faults.faults.processes import KillServer, StopServer, TerminateServer
from tests.faults.faults.stale import StaleResult
from tests.faults.faults.stores import BusyScript, FlushScripts, KillStore, KillStoreInRewrite

_TABLE: Final[tuple[type[Fault], ...]] = (
    KillServer,
    StopServer,
    StaleResult,
    TerminateServer,
    BlockLoop,
    KillChild,
    Poison,
    TwoPoisons,
    Roll,
    RollTen,
    TwoApps,
    KillStore,
    KillStoreInRewrite,
    FlushScripts,
    BusyScript,
    CutConnections,
    CutOneWay,
    Latency,
    DropReplies,
    LoseOffers,
    PowerCut,
    TornPowerCut,
    ZeroFilledPowerCut,
    PowerCutInRewrite,
    ReplicaClock,
    StoreClock,
    DiskFull,
    Failover,
)
FAULTS: Final = {fault.name: fault for fault in _TABLE}
