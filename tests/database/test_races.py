"""Calls for one user at the same moment: each gets a response that holds, or an error that it can act upon."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Barrier
from typing import Any, Final, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import IsolationLevel

from tests.database.project import Project
from tests.support import acting_as

ROUNDS: Final = 16
CALLERS: Final = 6
FIRST_NAME: Final = "First name"

TRY_AGAIN: Final = "40001"
EXISTS_ALREADY: Final = "23505"
USER_IS_GONE: Final = "23503"

GET_OR_CREATE_FOR: Final = "select id, user_id, account_name, created from public.get_or_create_account_for(%s, %s)"
GET_OR_CREATE: Final = "select id, user_id, account_name, created from public.get_or_create_account(%s)"
CREATE: Final = "select id, user_id, account_name, true from public.create_account(%s)"
RENAME: Final = "select id, user_id, account_name, false from public.rename_account(%s, %s)"
DELETE_USER: Final = "delete from auth.users where id = %s"

ISOLATION_LEVELS: Final = (
    IsolationLevel.READ_COMMITTED,
    IsolationLevel.REPEATABLE_READ,
    IsolationLevel.SERIALIZABLE,
)


@dataclass(frozen=True)
class Account:
    id: UUID
    user_id: UUID
    name: str
    created: bool = False


@dataclass(frozen=True)
class Call:
    statement: LiteralString
    parameters: tuple[Any, ...]
    caller: UUID | None = None  # None: the database's own role, as when Auth deletes a user
    by_backend: bool = False  # a trusted backend calls on behalf of the caller, with the secret key


@dataclass(frozen=True)
class Outcome:
    """What a call returned and committed, or the SQLSTATE that it, or its commit, ended with."""

    accounts: list[Account]
    sqlstate: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.sqlstate is None


def make(
    connection: psycopg.Connection,
    call: Call,
    *,
    before: Callable[[], object] = lambda: None,
    within: Callable[[], object] = lambda: None,
) -> Outcome:
    """Make a call in a transaction of its own; `within` runs when the transaction has its snapshot."""
    before()
    own_role = call.caller is None or call.by_backend
    transaction = connection.transaction() if own_role else acting_as(connection, call.caller)
    try:
        with transaction:
            if call.by_backend:
                connection.execute("set local role service_role")
            connection.execute("select")  # above read committed, this is what the whole transaction sees
            within()
            cursor = connection.execute(call.statement, call.parameters)
            accounts = [] if cursor.description is None else [Account(*row) for row in cursor.fetchall()]
    except psycopg.Error as error:
        return Outcome([], error.sqlstate)
    return Outcome(accounts)


class Race:
    """Connections of one isolation level, a user beside whom everything happens, and the rules of every race."""

    def __init__(self, connections: Sequence[psycopg.Connection], isolation: IsolationLevel) -> None:
        self.observer, *self.connections = connections
        for connection in self.connections:
            connection.isolation_level = isolation
            # a deadlock ends with 40P01 after 1 s, and what waits for anything else with one of these
            connection.execute("set lock_timeout = '10s'")
            connection.execute("set statement_timeout = '15s'")
        self.isolation = isolation
        self.retryable = set() if isolation is IsolationLevel.READ_COMMITTED else {TRY_AGAIN}
        self.bystander = self.new_user(with_account=True)
        self.bystanders_row = self.stored(self.bystander)

    def new_user(self, *, with_account: bool = False) -> UUID:
        user = uuid4()
        self.observer.execute("insert into auth.users (id, email) values (%s, %s)", [user, f"{user}@example.com"])
        if with_account:
            assert make(self.observer, Call(GET_OR_CREATE, (FIRST_NAME,), user)).succeeded
        return user

    def exists(self, user: UUID) -> bool:
        return self.observer.execute("select from auth.users where id = %s", [user]).fetchone() is not None

    def stored(self, user: UUID) -> list[Account]:
        query = "select id, user_id, account_name from public.user_accounts where user_id = %s"
        return [Account(*row) for row in self.observer.execute(query, [user]).fetchall()]

    def run(self, calls: Sequence[Call], *, snapshots_first: bool) -> list[Outcome]:
        """Make the calls at the same moment, with each snapshot taken before any call or as it comes."""
        together = Barrier(len(calls), timeout=30)

        def run_one(connection: psycopg.Connection, call: Call) -> Outcome:
            if snapshots_first:
                return make(connection, call, within=together.wait)
            return make(connection, call, before=together.wait)

        with ThreadPoolExecutor(len(calls)) as threads:
            outcomes = list(threads.map(run_one, self.connections, calls))
        for call, outcome in zip(calls, outcomes, strict=True):
            assert len(outcome.accounts) <= 1
            assert {account.user_id for account in outcome.accounts} <= {call.caller}
        assert self.stored(self.bystander) == self.bystanders_row
        return outcomes


@pytest.fixture(scope="module", params=ISOLATION_LEVELS, ids=lambda level: level.name.lower().replace("_", "-"))
def race(request: pytest.FixtureRequest, project: Project) -> Iterator[Race]:
    with ExitStack() as stack:
        database = stack.enter_context(project.clone())
        yield Race([stack.enter_context(project.connect(database)) for _ in range(CALLERS + 1)], request.param)


def sqlstates(outcomes: Sequence[Outcome]) -> set[str]:
    return {outcome.sqlstate for outcome in outcomes if outcome.sqlstate is not None}


def responses(outcomes: Sequence[Outcome]) -> list[Account]:
    return [account for outcome in outcomes for account in outcome.accounts]


def snapshots_first_every_other_time() -> Iterator[bool]:
    return (number % 2 == 1 for number in range(ROUNDS))


def assert_exactly_one_created(race: Race, user: UUID, outcomes: Sequence[Outcome]) -> None:
    """One call created the account, and all that succeeded returned it."""
    assert all(outcome.accounts for outcome in outcomes if outcome.succeeded)
    (created,) = (account for account in responses(outcomes) if account.created)
    assert race.stored(user) == [Account(created.id, user, created.name)]
    assert {(account.id, account.name) for account in responses(outcomes)} == {(created.id, created.name)}


def test_of_first_calls_at_once_exactly_one_makes_the_account(race: Race) -> None:
    for snapshots_first in snapshots_first_every_other_time():
        user = race.new_user()
        calls = [Call(GET_OR_CREATE, (f"Name {number}",), user) for number in range(CALLERS)]
        outcomes = race.run(calls, snapshots_first=snapshots_first)

        assert sqlstates(outcomes) <= race.retryable
        assert_exactly_one_created(race, user, outcomes)
        if snapshots_first and race.retryable:
            # none of the others can see the account: each has to say so, and not that there is none
            assert [outcome.sqlstate for outcome in outcomes].count(TRY_AGAIN) == CALLERS - 1


def test_of_a_users_and_a_backends_first_calls_at_once_exactly_one_makes_the_account(race: Race) -> None:
    for snapshots_first in snapshots_first_every_other_time():
        user = race.new_user()
        calls = [
            Call(GET_OR_CREATE_FOR, (user, f"Name {number}"), user, by_backend=True)
            if number % 2
            else Call(GET_OR_CREATE, (f"Name {number}",), user)
            for number in range(CALLERS)
        ]
        outcomes = race.run(calls, snapshots_first=snapshots_first)

        assert sqlstates(outcomes) <= race.retryable
        assert_exactly_one_created(race, user, outcomes)


def test_an_account_that_its_owner_cannot_see_ends_a_call_at_once_and_for_good(race: Race) -> None:
    """PostgREST retries 40001 and 40P01 without limit, even when the client has gone."""
    user = race.new_user(with_account=True)
    race.observer.execute("update public.user_accounts set is_active = false where user_id = %s", [user])
    # not "using (false)", which would refuse the new row before it meets the hidden one
    race.observer.execute("create policy hide on public.user_accounts as restrictive for select using (is_active)")
    try:
        outcome = make(race.connections[0], Call(GET_OR_CREATE, (FIRST_NAME,), user))
    finally:
        race.observer.execute("drop policy hide on public.user_accounts")
    assert outcome == Outcome([], "42501")


def test_create_and_get_or_create_at_once_make_one_account(race: Race) -> None:
    for snapshots_first in snapshots_first_every_other_time():
        user = race.new_user()
        statements = [(CREATE, GET_OR_CREATE)[number % 2] for number in range(CALLERS)]
        calls = [Call(statement, (f"Name {number}",), user) for number, statement in enumerate(statements)]
        outcomes = race.run(calls, snapshots_first=snapshots_first)

        assert sqlstates(outcomes[::2]) <= {EXISTS_ALREADY, *race.retryable}
        assert sqlstates(outcomes[1::2]) <= race.retryable
        assert_exactly_one_created(race, user, outcomes)


def test_a_rename_while_the_user_is_deleted_returns_its_own_row_or_none(race: Race) -> None:
    for snapshots_first in snapshots_first_every_other_time():
        user = race.new_user(with_account=True)
        (before,) = race.stored(user)
        names = [f"Name {number}" for number in range(CALLERS - 1)]
        calls = [Call(DELETE_USER, (user,)), *(Call(RENAME, (before.id, name), user) for name in names)]
        deleted, *renamed = race.run(calls, snapshots_first=snapshots_first)

        assert sqlstates([deleted, *renamed]) <= race.retryable
        for name, outcome in zip(names, renamed, strict=True):
            assert outcome.accounts in ([], [Account(before.id, user, name)])
        assert race.exists(user) is not deleted.succeeded
        if deleted.succeeded:
            assert race.stored(user) == []
        else:
            (after,) = race.stored(user)
            assert after in (responses(renamed) or [before])


@pytest.mark.parametrize("with_account", [False, True], ids=["first-call", "later-call"])
def test_get_or_create_while_the_user_is_deleted_leaves_no_account_without_its_user(
    race: Race, *, with_account: bool
) -> None:
    for snapshots_first in snapshots_first_every_other_time():
        user = race.new_user(with_account=with_account)
        before = race.stored(user)
        names = [f"Name {number}" for number in range(CALLERS - 1)]
        calls = [Call(DELETE_USER, (user,)), *(Call(GET_OR_CREATE, (name,), user) for name in names)]
        deleted, *called = race.run(calls, snapshots_first=snapshots_first)

        assert sqlstates([deleted]) <= race.retryable
        assert sqlstates(called) <= {USER_IS_GONE, *race.retryable}
        assert all(outcome.accounts for outcome in called if outcome.succeeded)
        assert len({account.id for account in [*before, *responses(called)]}) <= 1
        makers = [account for account in responses(called) if account.created]
        assert len(makers) == (1 if responses(called) and not with_account else 0)
        assert race.exists(user) is not deleted.succeeded
        if deleted.succeeded:
            assert race.stored(user) == []
        else:
            assert USER_IS_GONE not in sqlstates(called)
            assert race.stored(user) == [Account(account.id, user, account.name) for account in [*before, *makers]]


def test_create_while_the_user_is_deleted_leaves_no_account_without_its_user(race: Race) -> None:
    for snapshots_first in snapshots_first_every_other_time():
        user = race.new_user()
        names = [f"Name {number}" for number in range(CALLERS - 1)]
        calls = [Call(DELETE_USER, (user,)), *(Call(CREATE, (name,), user) for name in names)]
        deleted, *called = race.run(calls, snapshots_first=snapshots_first)

        assert sqlstates([deleted]) <= race.retryable
        assert sqlstates(called) <= {EXISTS_ALREADY, USER_IS_GONE, *race.retryable}
        assert len(responses(called)) <= 1
        assert race.exists(user) is not deleted.succeeded
        created = [Account(account.id, user, account.name) for account in responses(called)]
        assert race.stored(user) == ([] if deleted.succeeded else created)


def test_every_first_call_that_tries_again_gets_the_account(race: Race) -> None:
    for _ in range(ROUNDS):
        user = race.new_user()
        calls = [Call(GET_OR_CREATE, (FIRST_NAME,), user)] * CALLERS
        returned: list[Account] = []
        for _ in range(CALLERS):  # of those who try at once, one at least succeeds
            outcomes = race.run(calls, snapshots_first=False)
            assert sqlstates(outcomes) <= race.retryable
            assert any(outcome.succeeded for outcome in outcomes)
            returned += responses(outcomes)
            calls = [call for call, outcome in zip(calls, outcomes, strict=True) if not outcome.succeeded]
            if not calls:
                break

        assert len(returned) == CALLERS
        assert len({account.id for account in returned}) == 1
        assert sum(account.created for account in returned) == 1


def test_a_call_that_began_before_the_account_was_made_sees_it_at_once_or_when_it_tries_again(race: Race) -> None:
    user = race.new_user()
    connection, call = race.connections[0], Call(GET_OR_CREATE, ("Second name",), user)
    outcome = make(connection, call, within=lambda: make(race.observer, Call(GET_OR_CREATE, (FIRST_NAME,), user)))
    if race.retryable:
        assert outcome == Outcome([], TRY_AGAIN)
        outcome = make(connection, call)
    (stored,) = race.stored(user)
    assert stored.name == FIRST_NAME
    assert outcome == Outcome([stored])
