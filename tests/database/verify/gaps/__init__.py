"""The catalogue: changes by kind, each with a name of its own."""

from collections.abc import Mapping
from typing import Final

from tests.database.verify.gap import Gap
from tests.database.verify.gaps import (
    blocks,
    checks,
    combinations,
    conditions,
    disguises,
    functions,
    harmless,
    policies,
    rights,
    roles,
    structure,
    surroundings,
    tables,
    views,
)

KINDS: Final[Mapping[str, Mapping[str, Gap]]] = {
    "views": views.GAPS,
    "functions": functions.GAPS,
    "tables": tables.GAPS,
    "rights": rights.GAPS,
    "policies": policies.GAPS,
    "structure": structure.GAPS,
    "roles": roles.GAPS,
    "surroundings": surroundings.GAPS,
    "conditions": conditions.GAPS,
    "blocks": blocks.GAPS,
    "checks": checks.GAPS,
    "disguises": disguises.GAPS,
    "combinations": combinations.GAPS,
    "harmless": harmless.GAPS,
}
