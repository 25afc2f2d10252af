"""`queuey completion`: the completion scripts of shells."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from queuey.cli import app as root
from queuey.cli.exits import OK


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish", "powershell"], Parameter(help="Shell to print the script for.")], /
) -> int:
    """Print the script. The help of this command is in `app`."""
    print(root.app.generate_completion(prog_name="queuey", shell=shell))
    return OK
