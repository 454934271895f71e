"""For each change of the catalogue, verify says what the oracle saw, and its script repairs it."""

import psycopg
import pytest

from edge_api.verify import verify
from edge_api.verify.expected import Expected
from edge_api.verify.findings import fix_script
from tests.database.verify.gaps import KINDS
from tests.database.verify.judge import Verifier, complaints

ENTRIES = [(kind, name) for kind, entries in KINDS.items() for name in entries]


@pytest.fixture
def verifier(expected: Expected) -> Verifier:
    return Verifier(lambda connection: verify(connection, expected), fix_script)


@pytest.mark.parametrize(("kind", "name"), ENTRIES, ids=[": ".join(entry) for entry in ENTRIES])
def test_verify_says_what_the_oracle_sees(
    database: psycopg.Connection, verifier: Verifier, kind: str, name: str
) -> None:
    gap = KINDS[kind][name]
    if database.info.server_version // 10000 < gap.since:
        return
    wrong = complaints(database, gap, verifier)
    assert not wrong, "\n".join(wrong)
