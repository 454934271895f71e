"""Whatever several users do, in whatever order and at whatever moment: no user ever gets a response about another."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import aiohttp
import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from edge_api.local.stack import Stack
from tests.edge.serving import log_of, serving
from tests.support import ACCOUNTS, GET_OR_CREATE, UNKNOWN_ID, User, signed

Account = dict[str, Any]
DEFAULT_NAME = "Default Alpaca Account"
INVALID_NAMES: list[object] = [
    "",
    "x" * 256,
    " padded",
    "padded ",
    "a\nb",
    "a\x00b",
    "\u3000",
    7,
    None,
    ["a"],
    {"a": 1},
]

_someone = st.integers(0, 2)
_two_people = st.permutations(range(3)).map(lambda order: order[:2])
_names = st.sampled_from(["Mine", "My account", "x" * 255, "Ünïcödé 🦙", '"; drop table user_accounts; --', "%s \\ {}"])


class Users(RuleBasedStateMachine):
    """What each user did, against a model: who has which account."""

    stack: ClassVar[Stack]
    users: ClassVar[list[User]]
    expired: ClassVar[list[str]]
    forget: ClassVar[Callable[[], object]]  # deletes the users' accounts
    pool: ClassVar[ThreadPoolExecutor]

    def __init__(self) -> None:
        super().__init__()
        self.model: list[Account | None] = [None for _ in self.users]

    @initialize()
    def start_with_nothing(self) -> None:
        type(self).forget()

    def expect_new(self, who: int, account: Account, name: str) -> None:
        assert set(account) == {"id", "user_id", "account_name", "is_active", "created_at", "updated_at"}
        assert account["user_id"] == str(self.users[who].id)
        assert (account["account_name"], account["is_active"]) == (name, True)
        assert account["id"] not in {other["id"] for other in self.model if other}
        self.model[who] = account

    def expect_problem(self, response: httpx.Response, status: int, code: str) -> None:
        assert (response.status_code, response.json()["code"]) == (status, code)
        for account in self.model:
            assert account is None or account["id"] not in response.text

    @rule(who=_someone)
    def list_accounts(self, who: int) -> None:
        response = self.users[who].api.get(ACCOUNTS)
        own = self.model[who]
        assert response.status_code == 200
        assert response.json() == {"status": "success", "accounts": [own] if own else [], "count": 1 if own else 0}

    @rule(who=_someone, name=_names)
    def create(self, who: int, name: str) -> None:
        response = self.users[who].api.post(ACCOUNTS, json={"account_name": name})
        if self.model[who]:
            self.expect_problem(response, 409, "account_exists")
        else:
            assert response.status_code == 201
            self.expect_new(who, response.json(), name)
            assert response.headers["Location"] == f"{ACCOUNTS}/{response.json()['id']}"

    @rule(who=_someone)
    def get_or_create(self, who: int) -> None:
        response = self.users[who].api.post(GET_OR_CREATE)
        assert response.status_code == 200
        if own := self.model[who]:
            assert response.json() == {"account": own, "created": False}
        else:
            assert response.json()["created"] is True
            self.expect_new(who, response.json()["account"], DEFAULT_NAME)

    @rule(who=_someone)
    def get_own(self, who: int) -> None:
        own = self.model[who]
        response = self.users[who].api.get(f"{ACCOUNTS}/{own['id'] if own else UNKNOWN_ID}")
        if own:
            assert (response.status_code, response.json()) == (200, own)
        else:
            self.expect_problem(response, 404, "account_not_found")

    @rule(people=_two_people)
    def get_anothers(self, people: list[int]) -> None:
        who, other = people
        theirs = self.model[other]
        response = self.users[who].api.get(f"{ACCOUNTS}/{theirs['id'] if theirs else UNKNOWN_ID}")
        self.expect_problem(response, 404, "account_not_found")

    @rule(who=_someone, name=_names)
    def rename_own(self, who: int, name: str) -> None:
        own = self.model[who]
        response = self.users[who].api.patch(
            f"{ACCOUNTS}/{own['id'] if own else UNKNOWN_ID}", json={"account_name": name}
        )
        if own:
            renamed = response.json()
            assert (response.status_code, renamed) == (
                200,
                {**own, "account_name": name, "updated_at": renamed["updated_at"]},
            )
            assert datetime.fromisoformat(renamed["updated_at"]) > datetime.fromisoformat(own["updated_at"])
            self.model[who] = renamed
        else:
            self.expect_problem(response, 404, "account_not_found")

    @rule(people=_two_people, name=_names)
    def rename_anothers(self, people: list[int], name: str) -> None:
        who, other = people
        theirs = self.model[other]
        path = f"{ACCOUNTS}/{theirs['id'] if theirs else UNKNOWN_ID}"
        response = self.users[who].api.patch(path, json={"account_name": name})
        self.expect_problem(response, 404, "account_not_found")

    @rule(people=_two_people, name=st.sampled_from(INVALID_NAMES), own=st.booleans())
    def rename_with_an_invalid_name(self, people: list[int], name: object, own: bool) -> None:
        who, other = people
        account = self.model[who if own else other]
        path = f"{ACCOUNTS}/{account['id'] if account else UNKNOWN_ID}"
        response = self.users[who].api.patch(path, json={"account_name": name})
        self.expect_problem(response, 422, "invalid_request")

    @rule(who=_someone, call=st.sampled_from(["list", "create", "get-or-create", "get", "rename"]))
    def call_with_an_expired_token(self, who: int, call: str) -> None:
        own = self.model[who]
        path = f"{ACCOUNTS}/{own['id'] if own else UNKNOWN_ID}"
        method, url, body = {
            "list": ("GET", ACCOUNTS, None),
            "create": ("POST", ACCOUNTS, {"account_name": "Expired"}),
            "get-or-create": ("POST", GET_OR_CREATE, None),
            "get": ("GET", path, None),
            "rename": ("PATCH", path, {"account_name": "Expired"}),
        }[call]
        headers = {"Authorization": f"Bearer {self.expired[who]}"}
        response = self.users[who].api.request(method, url, json=body, headers=headers)
        self.expect_problem(response, 401, "invalid_token")

    @invariant()
    def each_sees_what_is_theirs_and_nothing_else(self) -> None:
        lists = self.pool.map(lambda user: user.api.get(ACCOUNTS).json()["accounts"], self.users)
        assert list(lists) == [[own] if own else [] for own in self.model]


def test_users_see_and_change_their_own_account_only_whatever_they_do(
    tmp_path: Path, stack: Stack, new_user: Callable[[], User], database: psycopg.Connection
) -> None:
    set_hypothesis_home_dir(tmp_path)  # which it would make in the working directory
    users = [new_user() for _ in range(3)]
    everybody = [user.id for user in users]
    an_hour_ago = int(time.time()) - 3600

    def forget() -> None:
        with database.transaction():
            database.execute("delete from public.user_accounts where user_id = any(%s)", [everybody])

    with ThreadPoolExecutor(len(users)) as pool:

        class TheseUsers(Users):
            pass

        TheseUsers.stack = stack
        TheseUsers.users = users
        TheseUsers.expired = [signed(stack, {"sub": str(user), "exp": an_hour_ago}) for user in everybody]
        TheseUsers.forget = staticmethod(forget)
        TheseUsers.pool = pool
        run_state_machine_as_test(
            TheseUsers,
            settings=settings(
                database=None,
                derandomize=True,
                phases=[Phase.generate],  # making a failure shorter takes minutes, and 20 steps can be read
                deadline=None,
                max_examples=10,
                stateful_step_count=20,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )


# Many at once ---------------------------------------------------------------------------------------------------------

SEED = 20261123
CONNECTIONS = 64
CALLS = ["list", "get-or-create", "get", "rename"]


class Crowd:
    """Users who call at random, all at once, over one client, and often give up."""

    def __init__(self, tokens: dict[UUID, str]) -> None:
        self.tokens = tokens
        self.accounts: dict[UUID, str] = {}
        self.created: Counter[UUID] = Counter()
        self.outcomes: Counter[int | str] = Counter()
        self._random = random.Random(SEED)  # noqa: S311 - to be the same again, not to be secret

    def belongs(self, account: Account, user: UUID) -> None:
        """See that the account is the user's own, and the same one as ever."""
        assert account["user_id"] == str(user)
        assert self.accounts.setdefault(user, account["id"]) == account["id"]
        assert account["account_name"] == DEFAULT_NAME or account["account_name"].startswith(f"{user} ")

    async def call(self, session: aiohttp.ClientSession, user: UUID, what: str, patience: float) -> None:
        if what in {"get", "rename"} and user not in self.accounts:
            what = "get-or-create"
        name = f"{user} {self._random.random()}"
        method, path, body = {
            "list": ("GET", ACCOUNTS, None),
            "get-or-create": ("POST", GET_OR_CREATE, None),
            "get": ("GET", f"{ACCOUNTS}/{self.accounts.get(user)}", None),
            "rename": ("PATCH", f"{ACCOUNTS}/{self.accounts.get(user)}", {"account_name": name}),
        }[what]
        request_id = uuid4().hex
        had_account = user in self.accounts  # now: it may be created while this call is under way
        async with session.request(
            method,
            path,
            json=body,
            headers={"Authorization": f"Bearer {self.tokens[user]}", "X-Request-ID": request_id},
            timeout=aiohttp.ClientTimeout(total=patience),
        ) as response:
            content = await response.json(content_type=None)
        self.outcomes[response.status] += 1
        assert response.headers["X-Request-ID"] == request_id
        if response.status != 200:
            assert content["request_id"] == request_id
            return
        match what:
            case "list":
                assert content["count"] == len(content["accounts"]) <= 1
                assert content["accounts"] or not had_account
                for account in content["accounts"]:
                    self.belongs(account, user)
            case "get-or-create":
                self.belongs(content["account"], user)
                self.created[user] += content["created"]
            case "get":
                self.belongs(content, user)
            case "rename":
                self.belongs(content, user)
                assert content["account_name"] == name

    async def call_and_maybe_give_up(self, session: aiohttp.ClientSession, user: UUID, what: str) -> None:
        lot = self._random.random()
        patience = self._random.uniform(0.001, 0.1) if 0.15 <= lot < 0.2 else 60
        call = asyncio.create_task(self.call(session, user, what, patience))
        if lot < 0.15:
            await asyncio.wait([call], timeout=self._random.uniform(0, 0.2))
            call.cancel()
        try:
            await call
        except asyncio.CancelledError:
            self.outcomes["cancelled"] += 1
        except TimeoutError:
            self.outcomes["timed out"] += 1

    async def soak(self, url: str, calls: int) -> None:
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        async with aiohttp.ClientSession(url, connector=connector) as session:
            todo = [
                (user, what)
                for user in self.tokens
                for what in self._random.choices(
                    ["list", "get-or-create", "get", "rename"], k=calls // len(self.tokens)
                )
            ]
            self._random.shuffle(todo)
            waiting = iter(todo)

            async def work() -> None:
                for user, what in waiting:
                    await self.call_and_maybe_give_up(session, user, what)

            await asyncio.gather(*(work() for _ in range(CONNECTIONS)))


@pytest.fixture
def crowd(stack: Stack, database: psycopg.Connection) -> Iterator[Crowd]:
    users = [uuid4() for _ in range(60)]
    with database.transaction():
        for user in users:  # signing up, which is slow on purpose, would take longer than the test
            database.execute("insert into auth.users (id, email) values (%s, %s)", [user, f"{user}@example.com"])
    yield Crowd({user: signed(stack, {"sub": str(user)}) for user in users})
    with database.transaction():
        database.execute("delete from auth.users where id = any(%s)", [users])


def assert_all_have_exactly_their_own(crowd: Crowd, api: httpx.Client) -> None:
    assert len(set(crowd.accounts.values())) == len(crowd.accounts)
    assert set(crowd.created.values()) <= {0, 1}
    for user, token in crowd.tokens.items():
        headers = {"Authorization": f"Bearer {token}"}
        crowd.belongs(api.post(GET_OR_CREATE, headers=headers).json()["account"], user)
        (account,) = api.get(ACCOUNTS, headers=headers).json()["accounts"]
        crowd.belongs(account, user)


def test_many_users_who_cancel_at_random_get_their_own_responses(stack: Stack, crowd: Crowd, api: httpx.Client) -> None:
    asyncio.run(crowd.soak(stack.api_url, calls=1000))
    assert set(crowd.outcomes) == {200, "cancelled", "timed out"}
    assert len(crowd.accounts) == len(crowd.tokens)
    assert_all_have_exactly_their_own(crowd, api)


def test_responses_are_not_mixed_up_where_the_edge_times_out(
    tmp_path: Path, stack: Stack, crowd: Crowd, api: httpx.Client
) -> None:
    settings = {
        "EDGE_UPSTREAM_TIMEOUT": "0.2",
        "EDGE_UPSTREAM_CONNECTIONS": "16",
        "EDGE_UPSTREAM_WAITING": "32",
    }
    with serving(tmp_path, stack.supabase_url, stack.keys.publishable, **settings) as (url, child):
        asyncio.run(crowd.soak(url, calls=600))
        assert set(crowd.outcomes) <= {200, 503, 504, "cancelled", "timed out"}
        assert crowd.outcomes[503] + crowd.outcomes[504]  # there is room for 48 of the 64 callers
        assert '"status":500' not in log_of(url, child)
    assert_all_have_exactly_their_own(crowd, api)
