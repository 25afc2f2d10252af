"""What a power cut leaves of the store's files, by what the shim has written down (power/shim.c)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Literal

from queuey.store.embedded.aof import FOLDER

Rest = Literal["plain", "torn", "zeros"]
"""What becomes of the bytes after the last sync: all are gone; some are there; their places are, filled with zeros."""
SHIM: Final = Path(__file__).with_name("shim.c")
NOTHING_KEPT: Final = "-"


@dataclass
class Change:
    """A change of a name, of whose directory nothing is known to have been synced since. `old`: '' when removed."""

    inode: int
    kept: str
    old: str
    new: str


@dataclass
class Durable:
    """What is certain to be on the disk. Lengths are by inode."""

    lengths: dict[int, int] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)
    syncs: int = 0
    held: str = ""


class Disk:
    """The disk under the store's folder `data`. Its own files are in `folder`, on the same file system."""

    def __init__(self, data: Path, folder: Path) -> None:
        self._data = data
        self._record = folder / "power.record"
        self._hold = folder / "power.hold"
        self._kept = folder / "power.kept"
        self._kept.mkdir()
        self.syncs = 0
        """Syncs of files that were seen up to the last cut."""

    @property
    def variables(self) -> dict[str, str]:
        """What the shim wants to find in its environment."""
        return {"POWER_RECORD": str(self._record), "POWER_HOLD": str(self._hold), "POWER_KEEP": str(self._kept)}

    def hold(self, where: str) -> None:
        """Let the store stop where it next comes by, such as `before sync appendonly` or `after move`."""
        part = self._hold.with_suffix(".part")
        part.write_text(where)
        part.rename(self._hold)  # the shim never sees half of it

    def let_go(self) -> None:
        """Let it go on."""
        self._hold.unlink(missing_ok=True)

    def held(self) -> str:
        """Where it stopped, '' when it has not."""
        return self.read().held

    def cut(self, rest: Rest, rng: Random) -> str:
        """Leave what is certain to be on the disk, and of the rest what `rest` says. The store must not run.

        Returns what was done, for people.
        """
        self.let_go()
        durable = self.read()
        self.syncs += durable.syncs
        reverted = [self._revert(change) for change in self._not_on_disk(durable, rng)]
        unsynced = 0
        for file in self._files():
            size = file.stat().st_size
            length = min(size, durable.lengths.get(file.stat().st_ino, 0))
            unsynced += size - length
            _lose(file, length, size, rest, rng)
        self._begin_anew()
        where = f", {durable.held}" if durable.held else ""
        names = f", {sum(reverted)} names set back" if any(reverted) else ""
        return f"{unsynced} bytes unsynced after {durable.syncs} syncs{where}{names}"

    def _files(self) -> list[Path]:
        found = [*(self._data / FOLDER).glob("*"), *self._data.glob("temp-*")]
        return sorted(path for path in found if path.is_file())

    def read(self) -> Durable:
        """What the shim has written down since the last cut."""
        durable = Durable()
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        for line in lines:
            kind, _, rest = line.partition(" ")
            if kind == "held":
                durable.held = durable.held or rest
            else:
                inode, _, rest = rest.partition(" ")
                self._take(durable, kind, int(inode), rest)
        return durable

    def _take(self, durable: Durable, kind: str, inode: int, rest: str) -> None:
        if kind == "dir":
            durable.pending = [change for change in durable.pending if self._inode_of(change) != inode]
            return
        first, _, path = rest.partition(" ")
        if kind in ("sync", "start"):
            durable.lengths[inode] = int(first)
            durable.syncs += kind == "sync"
        elif kind == "cut":
            durable.lengths[inode] = min(int(first), durable.lengths.get(inode, 0))
        elif kind == "move":
            old, _, new = path.partition("\t")
            durable.pending.append(Change(inode, first, old, new))
        elif kind == "gone":
            durable.pending.append(Change(inode, first, "", path))

    def _inode_of(self, change: Change) -> int:
        return (self._data / change.new).parent.stat().st_ino

    def _not_on_disk(self, durable: Durable, rng: Random) -> list[Change]:
        """The last of the pending changes, newest first: a file system may have written some, in their order."""
        written = rng.randint(0, len(durable.pending))
        return durable.pending[written:][::-1]

    def _revert(self, change: Change) -> bool:
        """Returns False when it had not even happened."""
        new = self._data / change.new
        if change.old:
            if not new.exists() or new.stat().st_ino != change.inode:
                return False
            new.rename(self._data / change.old)
        elif new.exists():
            return False
        if change.kept != NOTHING_KEPT:
            (self._kept / change.kept).rename(new)
        return True

    def _begin_anew(self) -> None:
        """What is there now is on the disk. (A leftover is removed at the next start, and its inode used again.)"""
        for kept in self._kept.iterdir():
            kept.unlink()
        files = [file for file in self._files() if not file.name.startswith("temp-")]
        self._record.write_text("".join(f"start {file.stat().st_ino} {file.stat().st_size} {file}\n" for file in files))


def _lose(file: Path, length: int, size: int, rest: Rest, rng: Random) -> None:
    """Cut to `length` a file that has `size` bytes, and leave of the others what `rest` says."""
    if rest == "torn":
        length = rng.randint(length, size)
    elif rest == "zeros":
        length = rng.choice((length, rng.randint(length, size)))
    os.truncate(file, length)
    if rest == "zeros":
        os.truncate(file, size)
