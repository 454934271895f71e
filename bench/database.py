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
from typing import Any, Final

import psycopg

from edge_api.local import stack as local_stack
from edge_api.local.postgres import SUPERUSER, VERSIONS, Cluster, postgres_version
from edge_api.local.stack import MIGRATOR

HERE: Final = Path(__file__).parent
SCRIPTS: Final = HERE.parent / "sql" / "bench"
SIZES: Final = (1_000, 100_000, 1_000_000)
EMPTY: Final = "empty_transaction"
# Statements on existing accounts, and those that need a user without one.
ON_EXISTING: Final = ("list", "get", "get_or_create_exists", "rename")
ON_NEW: Final = ("get_or_create_new", "create")
Latencies = dict[str, dict[int, list[float]]]  # by statement, by number of accounts: milliseconds, round by round
_TRANSACTIONS: Final = 2_000  # half a second


@dataclass
class Bench:
    """A database with accounts in it, and users without one."""

    cluster: Cluster
    accounts: int
    spare_users: int
    used: int = 0

    @property
    def database(self) -> str:
        """Its name."""
        return f"bench_{self.accounts}"

    def fill(self) -> None:
        """Create it with random ids, as real ones are, then vacuum and analyze all tables."""
        with self.cluster.connect(SUPERUSER, database="template1") as admin:
            admin.execute(f"create database {self.database} template postgres owner postgres".encode())
        with self.connect() as connection:
            connection.execute(
                "insert into auth.users (id, email)"
                " select md5('user' || n)::uuid, 'user-' || n || '@example.com'"
                " from generate_series(1, %s::int) as n",
                [self.accounts + self.spare_users],
            )
            connection.execute(
                "insert into public.user_accounts (id, user_id, account_name)"
                " select md5('account' || n)::uuid, md5('user' || n)::uuid, 'Account ' || n"
                " from generate_series(1, %s::int) as n",
                [self.accounts],
            )
            connection.execute("vacuum (freeze, analyze) public.user_accounts, auth.users")
            connection.execute("checkpoint")

    def connect(self) -> psycopg.Connection:
        """A connection to it as the superuser."""
        return self.cluster.connect(SUPERUSER, database=self.database)

    def latency(self, statement: str) -> float:
        """The average time of a transaction, in milliseconds, from one connection with prepared statements."""
        is_new = statement in ON_NEW
        with tempfile.NamedTemporaryFile("w", prefix=f"{statement}-", suffix=".sql") as script:
            script.write(transaction(statement))
            script.flush()
            done = self.cluster.run_client(
                "pgbench",
                *("--no-vacuum", "--protocol=prepared", f"--transactions={_TRANSACTIONS}"),
                *("--define", f"accounts={self.accounts}", "--define", f"user={self.accounts + self.used}"),
                *("--define", f"new={str(is_new).lower()}"),
                *("--file", script.name),
                role=MIGRATOR,
                database=self.database,
                seconds=60,
            )
        average = re.search(r"latency average = ([\d.]+) ms", done.stdout)
        failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
        if done.returncode or not average or not failed or int(failed[1]):
            raise RuntimeError(f"pgbench {statement} failed:\n{done.stdout}{done.stderr}")
        if is_new:
            self.used += _TRANSACTIONS
        return float(average[1])

    def written(self, statement: str) -> dict[str, int]:
        """What 2,000 transactions leave behind: bytes of WAL, and changed and dead rows of the table.

        The minimum of five runs, because the server writes WAL of its own now and then. The vacuum before them leaves
        no clean-up to the first read.
        """
        query = (
            "select pg_current_wal_insert_lsn() - '0/0', n_tup_ins + n_tup_upd + n_tup_del, n_dead_tup"
            " from pg_stat_user_tables where relid = 'public.user_accounts'::regclass"
        )
        tries: list[tuple[int, ...]] = []
        with self.connect() as connection:
            connection.execute("vacuum (freeze) public.user_accounts")
            connection.execute("checkpoint")
            for _ in range(5):
                before = _row(connection, query)
                self.latency(statement)
                tries.append(tuple(int(now - then) for now, then in zip(_row(connection, query), before, strict=True)))
        return dict(zip(("wal_bytes", "rows_changed", "dead_rows"), min(tries), strict=True))

    def pages(self) -> int:
        """The pages of 8 KiB that a call for an existing account reads, the second of a session."""
        with self.connect() as connection, connection.transaction():
            (user,) = _row(connection, "select user_id from public.user_accounts limit 1")
            connection.execute("set local role authenticated")
            connection.execute("select set_config('request.jwt.claim.sub', %s, true)", [str(user)])
            for _ in range(2):
                (plan,) = _row(
                    connection,
                    "explain (analyze, buffers, format json) select * from public.get_or_create_account()",
                )
        return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])

    def size(self) -> dict[str, float]:
        """What the accounts take on disk, in MiB, and the one index that finds them by user."""
        with self.connect() as connection:
            table, indexes, by_user = _row(
                connection,
                "select pg_table_size('public.user_accounts'), pg_indexes_size('public.user_accounts'),"
                " pg_relation_size('public.user_accounts_user_id_key')",
            )
        return {"table": table / 2**20, "indexes": indexes / 2**20, "index by user": by_user / 2**20}


def transaction(statement: str) -> str:
    """The script of a transaction for pgbench: the preamble, a statement, the end."""
    return "".join([*((SCRIPTS / f"{name}.sql").read_text() for name in ("preamble", statement)), "commit;\n"])


def _row(connection: psycopg.Connection, statement: str) -> tuple[Any, ...]:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None  # each statement here has one
    return row


def main() -> int:
    """Run everything; about three minutes."""
    arguments = argparse.ArgumentParser(prog="python -m bench.database", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=9, help="times that each statement is measured (9)")
    arguments.add_argument("--postgres", default="18", choices=[str(major) for major in VERSIONS], help="version (18)")
    options = arguments.parse_args()
    with ExitStack() as running:
        state = Path(tempfile.mkdtemp(prefix="edge-api-bench-"))
        running.callback(local_stack.reset, state)
        # without fsync: this does not measure the disk
        cluster = running.enter_context(local_stack.run_database(state, postgres=postgres_version(options.postgres)))
        with cluster.connect(SUPERUSER) as connection:
            connection.execute("alter system set autovacuum = off")  # its work would fall on some of the transactions
            connection.execute("select pg_reload_conf()")
        spare_users = len(ON_NEW) * options.rounds * _TRANSACTIONS
        benches = {accounts: Bench(cluster, accounts, spare_users) for accounts in SIZES}
        sizes: dict[int, dict[str, float]] = {}
        for accounts, bench in benches.items():
            print(f"inserting {accounts:,} accounts", file=sys.stderr)
            bench.fill()
            sizes[accounts] = {**bench.size(), "pages a call": bench.pages()}
        latencies: Latencies = {name: {size: [] for size in SIZES} for name in (EMPTY, *ON_EXISTING, *ON_NEW)}
        # sizes and statements take turns in each round, so that a busy moment of the machine affects all of them
        for turn in range(options.rounds):
            print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)
            for name, by_size in latencies.items():
                for accounts, measured in by_size.items():
                    measured.append(benches[accounts].latency(name))
        written = benches[SIZES[-1]].written("get_or_create_exists")
    print(table(latencies))
    print(f"\n{_TRANSACTIONS:,} calls of get_or_create_account for existing accounts leave behind: {written}")
    for accounts, size in sizes.items():
        print(
            f"{accounts:,} accounts: {size['table']:.1f} MiB table, {size['indexes']:.1f} MiB indexes"
            f" ({size['index by user']:.1f} MiB by user), {size['pages a call']:.0f} pages a call"
        )
    results = {"postgres": options.postgres, "latency_ms": latencies, "written": written, "sizes in MiB": sizes}
    (HERE / "database.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


def table(latencies: Latencies) -> str:
    """A Markdown table: median milliseconds of a transaction, and ratios of measurements of the same round."""

    def ratio(name: str, size: int, other_name: str, other_size: int) -> float:
        pairs = zip(latencies[name][size], latencies[other_name][other_size], strict=True)
        return statistics.median(measured / other for measured, other in pairs)

    lines = [
        f"| transaction | {' | '.join(f'{size:,} accounts' for size in SIZES)} | of empty | of its own at 1,000 |",
        f"|---|{'--:|' * (len(SIZES) + 2)}",
    ]
    for name, by_size in latencies.items():
        cells = " | ".join(f"{statistics.median(measured):.3f} ms" for measured in by_size.values())
        most = SIZES[-1]
        lines.append(
            f"| {name} | {cells} | {ratio(name, most, EMPTY, most):.2f} | {ratio(name, most, name, 1_000):.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
