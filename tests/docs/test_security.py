"""SECURITY.md names a proof for each claim: there must be one."""

import re
from collections.abc import Iterator

import pytest

from edge_api.local.packages import PROJECT

SECURITY = (PROJECT / "SECURITY.md").read_text()


def proofs() -> Iterator[str]:
    """What stands in the table's last column."""
    _, _, table = SECURITY.partition("| threat | what protects | proof |")
    for row in re.findall(r"^\|.*\|$", table, re.MULTILINE)[1:]:
        found = re.findall(r"`([\w/.]+(?:::\w+)?)`", row.split("|")[-2])
        assert found, f"no proof of: {row}"
        yield from found


@pytest.mark.parametrize("proof", sorted(set(proofs())))
def test_a_proof_is_there(proof: str) -> None:
    file, _, test = proof.partition("::")
    text = (PROJECT / file).read_text()
    assert re.search(rf"^(async )?def {test}\(", text, re.MULTILINE) if test else text
