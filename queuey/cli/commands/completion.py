"""`queuey completion`: what a shell needs to complete the commands and flags."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from queuey.cli import app as root
from queuey.cli.exits import OK


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish", "powershell"], Parameter(help="The shell that is to use it.")], /
) -> int:
    """See the help in `app`."""
    print(root.app.generate_completion(prog_name="queuey", shell=shell))
    return OK
