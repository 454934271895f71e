"""Whatever is sent along the API's own description: the responses are as it says."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPMethod
from typing import Any, Final, cast
from uuid import UUID

import hypothesis
import psycopg
import pytest
import requests
import schemathesis
from hypothesis.configuration import set_hypothesis_home_dir
from schemathesis import BaseSchema, Case, CheckFunction, Response
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import derive_operation_seed
from schemathesis.generation.hypothesis.builder import HypothesisTestConfig, HypothesisTestMode, create_test

from edge_api.local.stack import Stack
from tests.support import ACCOUNTS, GET_OR_CREATE, User

ONE: Final = f"{ACCOUNTS}/{{account_id}}"
FUZZED: Final = (
    f"{HTTPMethod.GET} {ACCOUNTS}",
    f"{HTTPMethod.POST} {ACCOUNTS}",
    f"{HTTPMethod.POST} {GET_OR_CREATE}",
    f"{HTTPMethod.GET} {ONE}",
    f"{HTTPMethod.PATCH} {ONE}",
)
# They take nothing that could vary, but methods and headers.
CONSTANT: Final = (f"{HTTPMethod.GET} /healthz", f"{HTTPMethod.GET} /readyz")
# Any other method at this path meets /api/accounts/{account_id}, which takes GET and PATCH of any name.
NOT_CHECKED: Final = {f"{HTTPMethod.POST} {GET_OR_CREATE}": ("unsupported_method", "allow_header_conformance")}


@dataclass
class Fuzzing:
    """One test's cases, sent with a signed-up user's token."""

    most: int
    seed: int
    user: User
    database: psycopg.Connection
    schema: BaseSchema
    session: requests.Session
    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.user.token}"}

    def forget_account(self) -> None:
        self.database.execute("delete from public.user_accounts where user_id = %s", [self.user.id])
        self.database.commit()

    @cached_property
    def own_account(self) -> str:
        return str(self.user.api.post(GET_OR_CREATE).json()["account"]["id"])

    def count(self, response: Response) -> None:
        self.cases += 1
        self.statuses[response.status_code] += 1


def checks(names: Iterable[str]) -> list[CheckFunction]:
    return [cast(CheckFunction, CHECKS.get_one(name)) for name in names]


def is_id(value: object) -> bool:
    try:
        return bool(UUID(str(value)))
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="module")
def no_files_in_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))
    yield
    set_hypothesis_home_dir(None)


@pytest.fixture
def fuzzing(stack: Stack, user: User, database: psycopg.Connection, pytestconfig: pytest.Config) -> Iterator[Fuzzing]:
    most: int = pytestconfig.getoption("--fuzz-cases")
    seed: int = pytestconfig.getoption("--fuzz-seed")
    print(f"--fuzz-cases={most} --fuzz-seed={seed}")  # noqa: T201 - pytest shows it with a failure
    load_all_checks()
    schema = schemathesis.openapi.from_url(f"{stack.api_url}/openapi.json", config=schemathesis.Config(seed=seed))
    schema.config.generation.update(database="none", max_examples=most)
    schema.config.checks.update(included_check_names=["all"], max_response_time=10)
    with requests.Session() as session:
        begun = Fuzzing(most, seed, user, database, schema, session)
        yield begun
    print(f"{begun.cases} cases, by the response's status: {dict(begun.statuses)}")  # noqa: T201


@pytest.mark.parametrize("label", [*FUZZED, *CONSTANT])
def test_every_response_is_as_described(fuzzing: Fuzzing, label: str) -> None:
    def check(case: Case[Any]) -> None:
        if label == f"POST {ACCOUNTS}" and fuzzing.statuses[201] * 3 <= fuzzing.cases:
            fuzzing.forget_account()  # or all but the first would be told that there is one already
        if is_id(case.path_parameters.get("account_id")) and fuzzing.cases % 4:
            case.path_parameters["account_id"] = fuzzing.own_account
        response = case.call(session=fuzzing.session, headers=fuzzing.headers())
        fuzzing.count(response)
        case.validate_response(
            response,
            excluded_checks=checks(NOT_CHECKED.get(label, ())),
            headers=fuzzing.headers(),
            transport_kwargs={"session": fuzzing.session, "headers": fuzzing.headers()},
        )

    operation = fuzzing.schema.find_operation_by_label(label)
    assert operation is not None
    create_test(
        operation=operation,
        test_func=check,
        config=HypothesisTestConfig(
            project=fuzzing.schema.config,
            modes=list(HypothesisTestMode),
            settings=fuzzing.schema.config.get_hypothesis_settings(operation=operation, apply_ci_profile=False),
            apply_ci_profile=False,
            seed=derive_operation_seed(fuzzing.seed, label),
        ),
    )()
    assert fuzzing.cases >= (fuzzing.most if label in FUZZED else 5)
    assert {200, 201} & fuzzing.statuses.keys()
    assert label in CONSTANT or 401 in fuzzing.statuses


def test_every_response_is_as_described_along_the_links(fuzzing: Fuzzing) -> None:
    followed: Counter[str] = Counter()

    class Workflow(fuzzing.schema.as_state_machine()):  # type: ignore[misc] # a class that is created at run time
        def setup(self) -> None:
            fuzzing.forget_account()

        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:  # noqa: ARG002 - as in the base
            return {"session": fuzzing.session, "headers": fuzzing.headers()}

        def after_call(self, response: Response, case: Case[Any]) -> None:
            super().after_call(response, case)
            fuzzing.count(response)
            if case.path_parameters and response.status_code == 200:
                followed[case.operation.label] += 1

        def validate_response(
            self,
            response: Response,
            case: Case[Any],
            additional_checks: list[CheckFunction] | None = None,
            **kwargs: Any,
        ) -> None:
            # A name out of an earlier response may take the place of one that was created to be wrong.
            unclear = ["negative_data_rejection"] if case.operation.label == f"PATCH {ONE}" else []
            case.validate_response(
                response,
                additional_checks=additional_checks,
                excluded_checks=checks(unclear),
                headers=kwargs["headers"],
                transport_kwargs=kwargs,
                recorder=self.recorder,
            )

    hypothesis.seed(fuzzing.seed)(Workflow)
    Workflow.run(
        settings=hypothesis.settings(
            max_examples=max(10, fuzzing.most // 20),
            stateful_step_count=10,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    )
    assert fuzzing.cases >= fuzzing.most // 8
    assert followed.keys() == {f"GET {ONE}", f"PATCH {ONE}"}
