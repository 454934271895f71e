"""For each change of the catalogue, verify says what the oracle saw, and its script repairs it."""

import os
from collections import defaultdict

import psycopg
import pytest

from edge_api.local.postgres import postgres_version
from edge_api.verify.drift import Expected
from edge_api.verify.findings import fix_script
from edge_api.verify.questions import verify
from tests.database.verify.gap import Effect
from tests.database.verify.gaps import KINDS
from tests.database.verify.judge import Verifier, complaints

VERSION = postgres_version(os.environ.get("EDGE_POSTGRES_VERSION"))
ENTRIES = [(kind, name) for kind, entries in KINDS.items() for name, gap in entries.items() if gap.since <= VERSION]
SAMPLE = 16  # `make test` tries one entry of so many of each kind and effect, at least one; `make gaps` all


def sample() -> list[tuple[str, str]]:
    groups: defaultdict[tuple[str, Effect], list[tuple[str, str]]] = defaultdict(list)
    for kind, name in ENTRIES:
        groups[kind, KINDS[kind][name].effect].append((kind, name))
    return [entry for group in groups.values() for entry in group[::SAMPLE]]


@pytest.fixture
def verifier(expected: Expected) -> Verifier:
    return Verifier(lambda connection: verify(connection, expected), fix_script)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        entries = ENTRIES if metafunc.config.getoption("--all-gaps") else sample()
        metafunc.parametrize(("kind", "name"), entries, ids=[": ".join(entry) for entry in entries])


def test_verify_says_what_the_oracle_sees(
    without_pgtap: psycopg.Connection, verifier: Verifier, kind: str, name: str
) -> None:
    wrong = complaints(without_pgtap, KINDS[kind][name], verifier)
    assert not wrong, "\n".join(wrong)
