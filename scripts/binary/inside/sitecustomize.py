"""Marks the folder that this Python runs from as used, so that neither another version nor systemd-tmpfiles removes it.

Both skip a folder that a process has locked.
"""

import contextlib
import fcntl
import os
import sys

with contextlib.suppress(OSError):
    # The lock lasts until the last copy of this process ends. A program that replaces it does not inherit it.
    _opened = os.open(sys.prefix, os.O_RDONLY | os.O_CLOEXEC)
    _folder = fcntl.fcntl(_opened, fcntl.F_DUPFD_CLOEXEC, 3)  # not in the place of a closed standard stream
    os.close(_opened)
    fcntl.flock(_folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.utime(_folder)
