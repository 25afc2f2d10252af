"""The table of all faults. A new one: a class in a file of this folder, and a line here."""

from __future__ import annotations

from typing import Final

from tests.faults.faults.apps import Roll, RollTen, TwoApps
from tests.faults.faults.base import Fault
from tests.faults.faults.clocks import ReplicaClock, StoreClock
from tests.faults.faults.connections import CutConnections, CutOneWay, DropReplies, Latency, LoseOffers
from tests.faults.faults.deeds import BlockLoop, BlockLoopKillStore, ForkHandler, KillChild
from tests.faults.faults.disk import DiskFull
from tests.faults.faults.failover import Failover
from tests.faults.faults.forks import ForkClient
from tests.faults.faults.poison import Poison, TwoPoisons
from tests.faults.faults.power import PowerCut, PowerCutInRewrite, TornPowerCut, ZeroFilledPowerCut
from tests.faults.faults.processes import KillCheckpoints, KillServer, StopServer, TerminateServer
from tests.faults.faults.shards import SilentShard
from tests.faults.faults.signals import HangUp, HangUpProcesses, TerminateAll
from tests.faults.faults.stale import StaleResult
from tests.faults.faults.stores import BusyScript, FlushScripts, FlushStore, KillStore, KillStoreInRewrite

_TABLE: Final[tuple[type[Fault], ...]] = (
    KillServer,
    KillCheckpoints,
    StopServer,
    StaleResult,
    TerminateServer,
    HangUp,
    HangUpProcesses,
    TerminateAll,
    ForkClient,
    BlockLoop,
    BlockLoopKillStore,
    KillChild,
    ForkHandler,
    Poison,
    TwoPoisons,
    Roll,
    RollTen,
    TwoApps,
    KillStore,
    KillStoreInRewrite,
    FlushScripts,
    FlushStore,
    BusyScript,
    CutConnections,
    CutOneWay,
    Latency,
    DropReplies,
    LoseOffers,
    SilentShard,
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
