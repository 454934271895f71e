"""The state folder: data, logs and secrets of a stack, for one run at a time and for its own user alone."""

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from edge_api.local.packages import PROJECT
from edge_api.local.processes import StackError


class Saved(TypedDict):
    """What outlives a run."""

    passwords: dict[str, str]
    jwt_secret: str
    publishable_key: str
    secret_key: str
    postgres_port: int | None
    gateway_port: int | None


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Create the folder if need be, and hold it for one run. The lock goes with the process, however that ends.

    Raises:
        StackError: another run holds it, or another user could replace what is in it.
    """
    refuse_shared(state)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_shared(state)  # in /tmp, say, somebody else may have created it meanwhile
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StackError(f"{state} is in use by another run: stop that, or set EDGE_STATE_DIR") from None
        yield
    finally:
        os.close(descriptor)


def refuse_shared(state: Path) -> None:
    """See that no other user can replace what is in a state folder, which need not exist yet.

    Raises:
        StackError: the folder or one above it is another user's, or open to others.
    """
    # the owner of the code decides what runs anyway: that of a checkout mounted into a container, say
    trusted = {0, os.geteuid(), PROJECT.stat().st_uid}
    advice = "set EDGE_STATE_DIR to a folder of your own"
    for folder in dict.fromkeys((state, *state.parents, *state.resolve().parents)):
        if not folder.exists():
            continue
        status = folder.stat()
        shared = status.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if folder == state else 0))
        if status.st_uid not in trusted:
            raise StackError(f"{folder} belongs to another user (id {status.st_uid}): {advice}")
        if shared and (folder == state or not status.st_mode & stat.S_ISVTX):
            raise StackError(f"other users can write to {folder}: {advice}, or chmod go-w {folder}")


def load(state: Path, roles: tuple[str, ...]) -> Saved:
    """What an earlier run saved; new secrets, with a password for each role, if there was none."""
    file = state / "state.json"
    if file.exists():
        saved: Saved = json.loads(file.read_text())
        return saved
    saved = {
        "passwords": {role: secrets.token_urlsafe(24) for role in roles},
        "jwt_secret": secrets.token_urlsafe(48),
        "publishable_key": f"sb_publishable_{secrets.token_urlsafe(24)}",
        "secret_key": f"sb_secret_{secrets.token_urlsafe(24)}",
        "postgres_port": None,
        "gateway_port": None,
    }
    save(state, saved)
    return saved


def save(state: Path, saved: Saved) -> None:
    """Save it for the next run."""
    write_private(state / "state.json", json.dumps(saved, indent=2))


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read: whole or not at all."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600, exist_ok=False)
    unfinished.write_text(text)
    unfinished.rename(file)
