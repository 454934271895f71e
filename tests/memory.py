"""Where the throw-away databases of the tests are: in memory, if the machine has room for them there."""

import os
from pathlib import Path
from typing import Final

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of a new name is created in it
_ROOM: Final = 4 << 30  # bytes: several times what a run takes


def folder() -> str | None:
    """A folder in memory for temporary files and programs; None where there is none, or too little room.

    PostgreSQL creates some 300 files for each database, and many tests have one of their own: slow on a disk.
    """
    try:
        status = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return None
    is_usable = os.access(_SHARED_MEMORY, os.W_OK) and not status.f_flag & os.ST_NOEXEC
    return str(_SHARED_MEMORY) if is_usable and status.f_bavail * status.f_frsize >= _ROOM else None
