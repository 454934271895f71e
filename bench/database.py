"""Measure the SQL functions with pgbench, at 1,000, 100,000 and 1,000,000 accounts: `make bench-sql`."""

import argparse
import json
import re
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_api.local import stack as local_stack
from edge_api.local.postgres import SUPERUSER, VERSIONS, Cluster, postgres_version
from edge_api.local.stack import MIGRATOR

HERE: Final = Path(__file__).parent
SCRIPTS: Final = HERE.parent / "sql" / "bench"
SIZES: Final = (1_000, 100_000, 1_000_000)
FLOOR: Final = "floor"
# Which of them look at accounts that are there, and which need users who have none.
ON_EXISTING: Final = ("list", "get", "get_or_create_exists", "rename")
ON_NEW: Final = ("get_or_create_new", "create")
_NEW_USERS: Final = 200_000


@dataclass
class Bench:
    """A cluster with accounts in it, and users without one."""

    cluster: Cluster
    seconds: float
    accounts: int = 0
    used: int = 0

    def fill(self, accounts: int) -> None:
        """Make it so many accounts, with random ids as real ones have, and put all tables into their resting state."""
        with self.cluster.connect(SUPERUSER) as connection:
            first = self.accounts + 1
            if first == 1:
                # users beyond the largest number of accounts, for the calls that make one
                self._add_users(1, SIZES[-1] + _NEW_USERS)
            connection.execute(
                "insert into public.user_accounts (id, user_id, account_name)"
                " select md5('account' || n)::uuid, md5('user' || n)::uuid, 'Account ' || n"
                " from generate_series(%s::int, %s::int) as n",
                [first, accounts],
            )
            connection.execute("vacuum (freeze, analyze) public.user_accounts, auth.users")
            connection.execute("checkpoint")
        self.accounts = accounts

    def _add_users(self, first: int, last: int) -> None:
        with self.cluster.connect(SUPERUSER) as connection:
            connection.execute(
                "insert into auth.users (id, email)"
                " select md5('user' || n)::uuid, 'user-' || n || '@example.com'"
                " from generate_series(%s::int, %s::int) as n",
                [first, last],
            )

    def latency(self, script: str) -> float:
        """The average time of a transaction, in milliseconds, from one connection with prepared statements."""
        new = SIZES[-1] + self.used
        done = self.cluster.run_client(
            "pgbench",
            *("--no-vacuum", "--protocol=prepared", f"--time={self.seconds:g}"),
            *("--define", f"accounts={self.accounts}", "--define", f"new={new}"),
            *("--file", SCRIPTS / f"{script}.sql"),
            role=MIGRATOR,
            database="postgres",
            seconds=self.seconds + 30,
        )
        made = re.search(r"number of transactions actually processed: (\d+)", done.stdout)
        average = re.search(r"latency average = ([\d.]+) ms", done.stdout)
        failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
        if done.returncode or not made or not average or not failed or int(failed[1]):
            raise RuntimeError(f"pgbench {script} failed:\n{done.stdout}{done.stderr}")
        if script in ON_NEW:
            self.used += int(made[1])
        return float(average[1])

    def forget_new(self) -> None:
        """Take away the accounts that the measuring made."""
        with self.cluster.connect(SUPERUSER) as connection:
            connection.execute(
                "delete from public.user_accounts where user_id in"
                " (select md5('user' || n)::uuid from generate_series(%s::int, %s::int) as n)",
                [SIZES[-1] + 1, SIZES[-1] + self.used],
            )
            connection.execute("vacuum (freeze, analyze) public.user_accounts")
        self.used = 0

    def written(self, script: str) -> dict[str, int]:
        """What calls of a script leave behind: bytes of WAL, and changed and dead rows of the table."""
        statement = (
            "select pg_current_wal_insert_lsn() - '0/0', n_tup_ins + n_tup_upd + n_tup_del, n_dead_tup"
            " from pg_stat_user_tables where relid = 'public.user_accounts'::regclass"
        )
        with self.cluster.connect(SUPERUSER) as connection:
            connection.execute("select pg_stat_force_next_flush()")
            before = connection.execute(statement).fetchone()
            self.latency(script)
            after = connection.execute(statement).fetchone()
        assert before is not None  # noqa: S101 - the table is there
        assert after is not None  # noqa: S101
        wal, changed, dead = (int(now - then) for now, then in zip(after, before, strict=True))
        return {"wal_bytes": wal, "rows_changed": changed, "dead_rows": dead}

    def size(self) -> dict[str, float]:
        """What the accounts take on disk, in MiB."""
        with self.cluster.connect(SUPERUSER) as connection:
            row = connection.execute(
                "select pg_table_size(t), pg_indexes_size(t) from (values ('public.user_accounts'::regclass)) as v (t)"
            ).fetchone()
        assert row is not None  # noqa: S101
        return {"table_mib": row[0] / 2**20, "indexes_mib": row[1] / 2**20}


def main() -> int:
    """Run everything; about three minutes."""
    arguments = argparse.ArgumentParser(prog="python -m bench.database", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3, help="times that each script is measured (3)")
    arguments.add_argument("--seconds", type=float, default=2, help="length of a measurement (2)")
    arguments.add_argument("--postgres", default="18", choices=[str(major) for major in VERSIONS], help="version (18)")
    options = arguments.parse_args()
    latencies: dict[str, dict[int, float]] = {}
    sizes: dict[int, dict[str, float]] = {}
    with ExitStack() as running:
        state = Path(tempfile.mkdtemp(prefix="edge-api-bench-"))
        running.callback(local_stack.reset, state)
        # without fsync: the disk's speed is not what this is about
        cluster = running.enter_context(local_stack.run_database(state, postgres=postgres_version(options.postgres)))
        bench = Bench(cluster, options.seconds)
        for accounts in SIZES:
            print(f"{accounts:,} accounts", file=sys.stderr)
            bench.fill(accounts)
            sizes[accounts] = bench.size()
            runs: dict[str, list[float]] = {name: [] for name in (FLOOR, *ON_EXISTING, *ON_NEW)}
            for _ in range(options.rounds):
                for name, measured in runs.items():
                    measured.append(bench.latency(name))
            for name, measured in runs.items():
                latencies.setdefault(name, {})[accounts] = statistics.median(measured)
            bench.forget_new()
        written = bench.written("get_or_create_exists")
    print(table(latencies))
    print(f"\nget_or_create_account of an existing account leaves behind: {written}")
    for accounts, size in sizes.items():
        print(f"{accounts:,} accounts: {size['table_mib']:.1f} MiB table, {size['indexes_mib']:.1f} MiB indexes")
    results = {"postgres": options.postgres, "latency_ms": latencies, "written": written, "size": sizes}
    (HERE / "database.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


def table(latencies: dict[str, dict[int, float]]) -> str:
    """A Markdown table: milliseconds a transaction, and how many times the floor's that is."""
    lines = [
        f"| transaction | {' | '.join(f'{size:,} accounts' for size in SIZES)} | of the floor |",
        f"|---|{'--:|' * (len(SIZES) + 1)}",
    ]
    for name, by_size in latencies.items():
        cells = " | ".join(f"{by_size[size]:.3f} ms" for size in SIZES)
        lines.append(f"| {name} | {cells} | {by_size[SIZES[-1]] / latencies[FLOOR][SIZES[-1]]:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
