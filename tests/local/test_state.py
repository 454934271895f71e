"""The state folder: nobody else can put a file in place of one that is in it."""

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from edge_api.local import postgres
from edge_api.local import stack as local_stack
from edge_api.local import state as state_folder
from edge_api.local.postgres import SUPERUSER, Cluster
from edge_api.local.processes import Ids, StackError, free_port

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs PostgreSQL as itself")
SOMEBODY = 61000
SECRETS = {SUPERUSER: "the password"}


def refused(folder: Path) -> str:
    """What is said about the folder, in which nothing may have been written."""
    before = sorted(folder.rglob("*")) if folder.exists() else None
    with pytest.raises(StackError) as error, state_folder.locked(folder):
        pass
    assert (sorted(folder.rglob("*")) if folder.exists() else None) == before
    return str(error.value)


@pytest.mark.parametrize("mode", [0o757, 0o775, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    assert refused(state).startswith(f"other users can write to {state}: set EDGE_STATE_DIR to a folder of your own")


def test_a_folder_below_one_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert refused(tmp_path / "new" / "state").startswith(f"other users can write to {tmp_path}: ")
    assert list(tmp_path.iterdir()) == []
    tmp_path.chmod(0o1777)  # in such a folder, /tmp for one, each removes what is their own only
    with state_folder.locked(tmp_path / "new" / "state"):
        assert (tmp_path / "new" / "state").stat().st_mode & 0o777 == 0o700


def test_a_link_in_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "link").symlink_to(tmp_path / "mine")
    assert refused(tmp_path / "open" / "link").startswith(f"other users can write to {tmp_path / 'open'}: ")
    (tmp_path / "link").symlink_to(tmp_path / "open")
    (tmp_path / "open" / "state").mkdir()
    assert refused(tmp_path / "link" / "state").startswith(f"other users can write to {tmp_path}/")


@pytest.mark.parametrize("below", ["", "state", "new/state"])
def test_another_users_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    if os.geteuid() == 0:
        os.chown(theirs, SOMEBODY, SOMEBODY)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
        monkeypatch.setattr(state_folder, "PROJECT", Path("/"))
    assert "belongs to another user (id " in refused(theirs / below)


def test_the_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "thesis"
    victim.write_text("years of work")
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o700)
    (tmp_path / "state" / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), state_folder.locked(tmp_path / "state"):
        pass
    assert victim.read_text() == "years of work"


def test_what_a_command_says_of_such_a_folder_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    environment = {"EDGE_STATE_DIR": str(tmp_path), "PATH": os.defpath}
    for command in ("dev", "reset"):
        failed = subprocess.run(
            [sys.executable, "-m", "edge_api.local", command],
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert failed.returncode == 1
        assert failed.stderr.startswith(f"edge-api: other users can write to {tmp_path}: ")
        assert len(failed.stderr.splitlines()) == 1


@as_root
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_root_runs_postgresql_as_a_user_that_nothing_else_is(
    state_folders: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    state = state_folders()
    if umask == 0o077:  # where PostgreSQL's own user can go neither to the data nor to the programs
        state.chmod(0o700)
        state /= "state"
        monkeypatch.setattr(postgres, "_open_to_all", lambda _path: False)
        elsewhere = state_folders()
        elsewhere.chmod(0o711)
        monkeypatch.setattr(postgres, "_SYSTEM_STATE", elsewhere / "edge-api")
    before = os.umask(umask)
    try:
        with state_folder.locked(state):
            cluster = Cluster(16, state, {**SECRETS, "postgres": "x", "gateway": "x"}, durable=False)
            for _ in range(2):
                server = cluster.start(free_port())
                try:
                    (owner,) = _ids(server.pid)
                    with pytest.raises(KeyError):
                        pwd.getpwuid(owner)
                    data = postgres.cluster_home(state) / "postgres-16"
                    assert {path.lstat().st_uid for path in (data, *data.rglob("*"))} == {owner}
                    assert data.stat().st_mode & 0o077 == 0
                finally:
                    server.stop(grace_seconds=5)
    finally:
        os.umask(before)
        local_stack.reset(state)


def _ids(pid: int) -> set[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {int(word) for line in lines if line.startswith(("Uid:", "Gid:")) for word in line.split()[1:]}


@as_root
def test_while_the_cluster_is_created_nobody_else_gets_to_it(
    state_folders: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """initdb runs as `nobody`, as other programs do: they cannot enter the folder."""
    state = state_folders()
    unfinished = state / "postgres-16.unfinished"
    nobody = pwd.getpwnam("nobody")
    read: dict[int, str] = {}

    def instead_of_initdb(*_arguments: object, user: Ids, **_options: object) -> None:
        for group in (nobody.pw_gid, user.group):
            identity: dict[str, Any] = {"user": nobody.pw_uid, "group": group, "extra_groups": []}
            command = ["cat", str(unfinished / "password")]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, **identity)
            read[group] = done.stdout or done.stderr
        raise StackError("seen enough")

    monkeypatch.setattr(Cluster, "_run", instead_of_initdb)
    with pytest.raises(StackError, match="seen enough"):
        Cluster(16, state, SECRETS, durable=False).start(free_port())
    for_others, for_initdb = read.values()
    assert "Permission denied" in for_others
    assert for_initdb == SECRETS[SUPERUSER]
    assert not unfinished.exists()


@as_root
def test_data_of_another_user_are_not_served(state_folders: Callable[[], Path]) -> None:
    """As they are after a start as root by a version that ran PostgreSQL as `nobody`."""
    state = state_folders()
    (state / "postgres-16").mkdir()
    os.chown(state / "postgres-16", SOMEBODY, SOMEBODY)
    with pytest.raises(StackError, match=r"belong to another user \(id 61000\): run make reset"):
        Cluster(16, state, SECRETS, durable=False).start(free_port())


@as_root
def test_a_user_without_a_name_is_told_what_initdb_needs(
    state_folders: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's, say."""

    def lend(_cluster: Cluster, folder: Path, _group: int) -> Ids:
        for path in (folder, *folder.iterdir()):
            os.chown(path, SOMEBODY, SOMEBODY)
        return Ids(SOMEBODY, SOMEBODY)

    monkeypatch.setattr(Cluster, "_lend", lend)
    with pytest.raises(StackError, match="initdb needs a name for the user id"):
        Cluster(16, state_folders(), SECRETS, durable=False).start(free_port())


@as_root
def test_an_id_that_is_taken_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    free = postgres._runs_as()
    assert free is not None
    monkeypatch.setattr(postgres, "_has_name", lambda number: number <= free.user)
    assert postgres._runs_as() == (free.user + 1, free.user + 1)


def test_the_database_takes_no_connection_without_the_password(stack: local_stack.Stack) -> None:
    """Whoever else is on this machine reaches the port."""
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(stack.cluster.url("postgres", with_password=False), connect_timeout=5)
