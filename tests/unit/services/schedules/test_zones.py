"""Time zones, where their names are wrong or the system has none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from queuey.errors import Fault, Invalid
from queuey.services.schedules.zones import Zone


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe", "give a name such as"),  # a folder
        ("localtime", "give a name such as"),  # another zone on each machine
        ("Europe/Berln", "did you mean Europe/Berlin?"),
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("posixrules", "give a name such as"),
        ("../UTC", "give a name such as"),
        ("/etc/localtime", "give a name such as"),
        ("+01:00", "give a name such as"),
        ("\0", "give a name such as"),
        ("x" * 64, "give a name such as"),
    ],
)
def test_a_name_that_no_zone_has(name: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        Zone(name)
    (fault,) = caught.value.faults
    assert isinstance(fault, Fault)
    assert fault.pointer == "/timezone"
    assert "is not a known time zone" in fault.detail
    assert hint in fault.detail


def test_zones_come_from_a_package_where_the_system_has_none() -> None:
    code = "from queuey.services.schedules.zones import Zone; print(Zone('Europe/Berlin').offset(1_800_000_000))"
    environment = {**os.environ, "PYTHONTZPATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "3600\n"
