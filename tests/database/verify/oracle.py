"""Tries every relation and function of a database as somebody who should not get at a row, as PostgREST would run it.

Everything happens in the caller's transaction and is rolled back to where it began.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import sql

LOGIN: Final = "authenticator"
# What a hosted project has and the embedded one lacks: PostgREST's login, and auth functions that read all claims.
LOGIN_ROLE: Final = f"create role {LOGIN} login noinherit; grant anon, authenticated, service_role to {LOGIN};"
HOSTED: Final = """
    create or replace function auth.uid() returns uuid language sql stable as $$
      select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
      )::uuid
    $$;
    create or replace function auth.jwt() returns jsonb language sql stable as $$
      select coalesce(
        nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')
      )::jsonb
    $$;
    create or replace function auth.role() returns text language sql stable as $$
      select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
      )::text
    $$;"""
VICTIM: Final = "00000000-0000-4000-8000-00000000001a"
OTHER: Final = "00000000-0000-4000-8000-00000000002b"
"""A user without an account."""
STRANGER: Final = "00000000-0000-4000-8000-00000000003c"
NEWCOMER: Final = "00000000-0000-4000-8000-00000000004d"
ACCOUNT: Final = "a0000000-0000-4000-8000-00000000001a"
STRANGERS_ACCOUNT: Final = "a0000000-0000-4000-8000-00000000003c"
USERS: Final = f"""
    insert into auth.users (id, email) values
    ('{VICTIM}', 'victim-zqvx@example.com'), ('{OTHER}', 'other-zqvx@example.com'),
    ('{STRANGER}', 'stranger@example.com'), ('{NEWCOMER}', 'newcomer@example.com');
    insert into public.user_accounts (id, user_id, account_name, created_at, updated_at) values
    ('{ACCOUNT}', '{VICTIM}', 'Victim''s zqvx', '2001-02-03 04:05:06.789+00', '2001-02-03 04:05:06.789+00'),
    ('{STRANGERS_ACCOUNT}', '{STRANGER}', 'Stranger''s', '2002-01-01', '2002-01-01');"""
_MARKS: Final = ("zqvx", "04:05:06.789", VICTIM, ACCOUNT)
_NOT_TRIED: Final = ("pg_catalog", "information_schema", "extensions", "pg_toast")
# Of a function, an argument of each type: what an attacker who knows some ids would send.
_ARGUMENTS: Final = (
    {"uuid": ACCOUNT, "text": "Reached"},
    {"uuid": VICTIM, "text": VICTIM},
    {"uuid": OTHER, "text": "select ua::text from public.user_accounts as ua"},
    {"uuid": OTHER, "text": "public.user_accounts"},
)
# Take no statement and no name of a table.
_OF_THE_MIGRATIONS: Final = (
    "public.get_or_create_account",
    "public.get_or_create_account_for",
    "public.create_account",
    "public.get_account",
    "public.rename_account",
)
_VALUES: Final = {
    "bigint": "1",
    "integer": "1",
    "smallint": "1",
    "numeric": "1",
    "boolean": "false",
    "jsonb": "{}",
    "json": "{}",
    "timestamp with time zone": "2020-01-01",
}
_TEXTS: Final = {"text", "character varying", "name", "anyelement", "anycompatible", "unknown"}


@dataclass(frozen=True)
class Actor:
    """Somebody to whom no row of the victim's belongs."""

    role: str
    claims: dict[str, Any]
    login: str = LOGIN
    settings: tuple[tuple[str, str], ...] = ()
    before: str = ""
    """A function that PostgREST runs before each request."""


@dataclass
class Outcome:
    """By which paths foreign rows were reached, and which of a user's own calls failed."""

    paths: list[str] = field(default_factory=list)
    failed_calls: list[str] = field(default_factory=list)


@contextmanager
def rolled_back(database: psycopg.Connection) -> Iterator[None]:
    with database.transaction(force_rollback=True):
        yield


def observe(database: psycopg.Connection, attack: str = "") -> Outcome:
    """All ways to a foreign row, and whether each user's own calls work. Takes a superuser's connection."""
    outcome = Outcome()
    with rolled_back(database):
        database.execute("set local statement_timeout = '10s'; set local client_min_messages = error")
        actors = [(actor, list(_attempts(database, actor, attack))) for actor in _actors(database)]
        calls = list(_calls(database))
        prober = _Prober(database)
        for actor, attempts in actors:
            paths = (f"{actor.role}: {name}" for name, attempt in attempts if prober.reaches(actor, attempt))
            outcome.paths += dict.fromkeys(paths)
        for actor, name, statement, expected in calls:
            actual = prober.value(actor, statement)
            if actual != expected:
                outcome.failed_calls.append(f"{name}: {actual} instead of {expected}")
        database.execute("rollback to savepoint probe")
    return outcome


def _actors(database: psycopg.Connection) -> list[Actor]:
    """Nobody, another user, a token without a user, and each login that is a member of these roles."""
    of_login = _settings(database, LOGIN)
    request = dict(of_login)
    anonymous = request.get("pgrst.db_anon_role", "anon")
    before = request.get("pgrst.db_pre_request", "")
    chosen = "service_role" if "user_metadata" in request.get("pgrst.jwt_role_claim_key", "") else "authenticated"

    def api(role: str, claims: dict[str, Any]) -> Actor:
        settings = (*_sent(of_login), *_impersonated(database, role))
        return Actor(role, claims, settings=settings, before=before)

    members = database.execute(
        """
        select m.rolname from pg_roles as m
        where m.rolcanlogin and not m.rolsuper and m.rolname not in ('postgres', 'gateway', %s)
        and (pg_has_role(m.oid, 'anon', 'member') or pg_has_role(m.oid, 'authenticated', 'member')
             or m.rolname in ('anon', 'authenticated'))""",
        [LOGIN],
    )
    return [
        api(anonymous, {"role": "anon"}),
        api(
            chosen, {"sub": STRANGER, "role": "authenticated", "user_metadata": {"role": "service_role", "sub": VICTIM}}
        ),
        api("authenticated", {"role": "authenticated"}),
        *(Actor(name, {}, login=name, settings=_sent(_settings(database, name))) for (name,) in members),
    ]


def _settings(database: psycopg.Connection, role: str) -> list[tuple[str, str]]:
    """What a session of a role begins with, the strongest last."""
    return database.execute(
        """
        select split_part(s, '=', 1), substr(s, strpos(s, '=') + 1)
        from pg_db_role_setting, unnest(setconfig) as s
        where setdatabase in (0, (select oid from pg_database where datname = current_database()))
        and setrole in (0, %s::regrole)
        order by setrole != 0, setdatabase != 0""",
        [role],
    ).fetchall()


def _impersonated(database: psycopg.Connection, role: str) -> list[tuple[str, str]]:
    """What PostgREST takes over from the role that a request runs as."""
    return database.execute(
        """
        select split_part(s, '=', 1), substr(s, strpos(s, '=') + 1)
        from pg_roles, unnest(rolconfig) as s
        inner join pg_settings on name = split_part(s, '=', 1)
        where rolname = %s and (context = 'user' or has_parameter_privilege(%s, name, 'set'))""",
        [role, LOGIN],
    ).fetchall()


def _sent(settings: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Those that take effect within the transaction."""
    at_login = ("pgrst.", "role", "session_authorization", "default_transaction")
    return tuple(each for each in settings if not each[0].startswith(at_login))


def _act(actor: Actor) -> str:
    """Becomes the actor, until the end of the (sub)transaction."""
    parts = [
        *(sql.SQL("select set_config({}, {}, true);").format(name, value) for name, value in actor.settings),
        sql.SQL("set local session authorization {};").format(sql.Identifier(actor.login)),
    ]
    if actor.login == LOGIN:
        setting = "select set_config('role', {}, true), set_config('request.jwt.claims', {}, true);"
        parts.append(sql.SQL(setting).format(actor.role, json.dumps(actor.claims)))
    return sql.Composed(parts).as_string() + (f"select {actor.before}();" if actor.before else "")


@dataclass(frozen=True)
class _Attempt:
    statement: str
    writes: bool = True
    marks: tuple[str, ...] = _MARKS
    is_decided_by_true: bool = False


class _Prober:
    """Runs one statement after the other as somebody, each from the same state of the database."""

    def __init__(self, database: psycopg.Connection) -> None:
        self._database = database
        tables = {"public.user_accounts": "user_id", "auth.users": "id"}
        # all rows that are not the stranger's, as a superuser sees them
        queries = " union all ".join(
            f"select t::text from {table} as t where {owner} is distinct from '{STRANGER}'"
            for table, owner in tables.items()
            if self._exists(table, owner)
        )
        self._look = f"reset session authorization; {queries or 'select null'} order by 1"
        database.execute("savepoint probe")
        self._before = self._run(self._look)[-1]

    def _exists(self, table: str, column: str) -> bool:
        query = "select from pg_attribute where attrelid = to_regclass(%s) and attname = %s and not attisdropped"
        return self._database.execute(query, [table, column]).fetchone() is not None

    def _run(self, script: str) -> list[list[Any]]:
        """The rows that each statement gives, from the same state of the database each time."""
        cursor = self._database.execute(f"rollback to savepoint probe; {script}".encode())
        results: list[list[Any]] = [cursor.fetchall() if cursor.description else []]
        while cursor.nextset():
            results.append(cursor.fetchall() if cursor.description else [])
        return results

    def reaches(self, actor: Actor, attempt: _Attempt) -> bool:
        """Whether a statement gives something of a row that is not the actor's, or changes one."""
        # as after a request: what was put off to its end is checked
        script = f"{_act(actor)} {attempt.statement}; set constraints all immediate"
        try:
            if attempt.is_decided_by_true and self._run(script)[-2] == [(True,)]:
                return True
            results = self._run(f"{script}; {self._look}" if attempt.writes else script)
        except psycopg.Error as error:
            said = f"{error} {error.diag.message_detail}"
            return any(mark in said for mark in attempt.marks)
        given, after = (results[:-1], results[-1]) if attempt.writes else (results, self._before)
        said = str(given[1 + len(actor.settings) + (2 if actor.login == LOGIN else 1) :])
        return any(mark in said for mark in attempt.marks) or after != self._before

    def value(self, actor: Actor, statement: str) -> str | None:
        """The single value that a statement gives, or the code of its error."""
        try:
            rows = self._run(f"{_act(actor)} {statement}")[-1]
        except psycopg.Error as error:
            return error.sqlstate
        return rows[0][0] if len(rows) == 1 else str(rows) if rows else None


def _attempts(database: psycopg.Connection, actor: Actor, attack: str) -> Iterator[tuple[str, _Attempt]]:
    if attack:
        filled = attack.format(account=ACCOUNT, user=VICTIM, other=OTHER)
        yield "the attack", _Attempt(filled, is_decided_by_true=True)
    yield from _on_relations(database, actor)
    yield from _of_functions(database, actor)


def _on_relations(database: psycopg.Connection, actor: Actor) -> Iterator[tuple[str, _Attempt]]:
    rows = database.execute(
        """
        select c.oid::regclass::text, c.relkind::text,
            has_table_privilege(%(role)s, c.oid, 'delete'), has_table_privilege(%(role)s, c.oid, 'truncate'),
            array_agg(
                array[format('%%I', attname), format_type(atttypid, -1),
                    has_column_privilege(%(role)s, c.oid, attnum, 'select')::text,
                    has_column_privilege(%(role)s, c.oid, attnum, 'insert')::text,
                    has_column_privilege(%(role)s, c.oid, attnum, 'update')::text] order by attnum)
        from pg_class as c inner join pg_namespace as n on c.relnamespace = n.oid
        inner join pg_attribute on attrelid = c.oid and attnum > 0 and not attisdropped
        where relkind in ('r', 'p', 'v', 'm', 'f') and nspname != all (%(not_tried)s)
        and nspname !~ '^pg_(temp|toast)'
        and (has_any_column_privilege(%(role)s, c.oid, 'select, insert, update')
             or has_table_privilege(%(role)s, c.oid, 'delete, truncate'))
        group by c.oid, c.relkind
        order by 1""",
        {"role": actor.role, "not_tried": list(_NOT_TRIED)},
    ).fetchall()
    for name, kind, may_delete, may_truncate, columns in rows:
        readable = [f"{column[0]}::text" for column in columns if column[2] == "true"]
        if readable:
            yield f"select from {name}", _Attempt(f"select {', '.join(readable)} from {name}", writes=False)
        inserted = [(column, kind) for column, kind, _, insert, _ in columns if insert == "true"]
        if inserted:
            yield from _inserts(name, inserted)
        for column, of_type, _, _, update in columns:
            if update == "true" and (value := _new_value(of_type)):
                yield f"update {name}", _Attempt(f"update {name} set {column} = {value}")
        if may_delete:
            yield f"delete from {name}", _Attempt(f"delete from {name}")
        if may_truncate and kind in "rp":
            yield f"truncate {name}", _Attempt(f"truncate {name}")


def _new_value(of_type: str) -> str | None:
    if of_type in _TEXTS:
        return "'Reached ' || gen_random_uuid()"
    if of_type in _VALUES:
        return f"'{_VALUES[of_type]}'"
    return "gen_random_uuid()" if of_type == "uuid" else None


def _inserts(name: str, columns: Sequence[tuple[str, str]]) -> Iterator[tuple[str, _Attempt]]:
    def value(column: str, of_type: str) -> str:
        if of_type == "uuid":
            return "gen_random_uuid()" if column == "id" else f"'{OTHER}'"
        if of_type in _TEXTS:
            return "'Reached'"
        return f"'{_VALUES[of_type]}'" if of_type in _VALUES else "default"

    def insert(chosen: Sequence[tuple[str, str]]) -> str:
        values = ", ".join(value(*column) for column in chosen)
        return f"insert into {name} ({', '.join(column for column, _ in chosen)}) values ({values})"

    yield f"insert into {name}", _Attempt(insert(columns))
    few = [column for column in columns if column[0] in ("user_id", "account_name")]
    if few and few != list(columns):
        yield f"insert into {name}", _Attempt(insert(few))


def _of_functions(database: psycopg.Connection, actor: Actor) -> Iterator[tuple[str, _Attempt]]:
    rows = database.execute(
        """
        select p.oid::regprocedure::text, format('%%I.%%I', nspname, proname), prokind::text,
            array(select format_type(t, -1) from unnest(proargtypes) with ordinality as a (t, n) order by n)
        from pg_proc as p inner join pg_namespace as n on p.pronamespace = n.oid
        where nspname != all (%s) and nspname !~ '^pg_(temp|toast)'
        and prokind != 'w' and prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
        and has_function_privilege(%s, p.oid, 'execute') and format('%%I.%%I', nspname, proname) not in
        ('auth.uid', 'auth.jwt')
        order by 1""",
        [list(_NOT_TRIED), actor.role],
    ).fetchall()
    for signature, name, kind, types in rows:
        variants = _ARGUMENTS[:2] if name in _OF_THE_MIGRATIONS else _ARGUMENTS
        for arguments in dict.fromkeys(tuple(_argument(each, chosen) for each in types) for chosen in variants):
            call = f"{name}({', '.join(arguments)})"
            if kind == "p":
                statement = f"call {call}"
            elif kind == "a":
                statement = f"select {call}::text"
            else:
                statement = f"select called::text from {call} as called"
            marks = tuple(mark for mark in _MARKS if mark not in call)
            yield f"function {signature}", _Attempt(statement, marks=marks)


def _argument(of_type: str, chosen: dict[str, str]) -> str:
    if of_type in _TEXTS:
        quoted = chosen["text"].replace("'", "''")
        return f"'{quoted}'::text"
    if of_type == "uuid":
        return f"'{chosen['uuid']}'::uuid"
    if of_type in _VALUES:
        return f"'{_VALUES[of_type]}'::{of_type}"
    if re.search(r"user_accounts$", of_type):
        return f'jsonb_populate_record(null::{of_type}, \'{{"id": "{ACCOUNT}", "user_id": "{VICTIM}"}}\')'
    return f"null::{of_type}"


# A user's own calls: who, what, and the single value that it gives.
_CALLS: Final = (
    (VICTIM, "list", "select string_agg(id::text, ',') from public.list_accounts()", ACCOUNT),
    (VICTIM, "select", "select string_agg(id::text, ',') from public.user_accounts", ACCOUNT),
    (VICTIM, "get or create", "select id || ' ' || created from public.get_or_create_account()", f"{ACCOUNT} false"),
    (VICTIM, "get", f"select user_id::text from public.get_account(account_id => '{ACCOUNT}'::uuid)", VICTIM),
    (
        VICTIM,
        "rename",
        f"select account_name from public.rename_account(account_id => '{ACCOUNT}'::uuid, account_name => 'New')",
        "New",
    ),
    (VICTIM, "create", "select id::text from public.create_account(account_name => 'Second')", "23505"),
    (NEWCOMER, "list", "select string_agg(id::text, ',') from public.list_accounts()", None),
    (NEWCOMER, "create", "select user_id::text from public.create_account(account_name => 'First')", NEWCOMER),
    (
        NEWCOMER,
        "get or create",
        "select user_id || ' ' || created from public.get_or_create_account()",
        f"{NEWCOMER} true",
    ),
    (
        NEWCOMER,
        "insert",
        "insert into public.user_accounts (account_name) values ('x') returning user_id::text",
        NEWCOMER,
    ),
    (NEWCOMER, "get", f"select user_id::text from public.get_account(account_id => '{ACCOUNT}'::uuid)", None),
    (
        NEWCOMER,
        "rename",
        f"select id::text from public.rename_account(account_id => '{ACCOUNT}'::uuid, account_name => 'x')",
        None,
    ),
)


def _calls(database: psycopg.Connection) -> Iterator[tuple[Actor, str, str, str | None]]:
    settings = (*_sent(_settings(database, LOGIN)), *_impersonated(database, "authenticated"))
    before = dict(_settings(database, LOGIN)).get("pgrst.db_pre_request", "")
    for user, name, statement, expected in _CALLS:
        claims = {"sub": user, "role": "authenticated"}
        who = "newcomer" if user == NEWCOMER else "victim"
        yield Actor("authenticated", claims, settings=settings, before=before), f"{who}: {name}", statement, expected
