"""Two ways at once: one must not hide the other, nor the fix of one undo that of the other."""

from typing import Final

from tests.database.verify.gap import Gap, reached
from tests.database.verify.gaps import functions, policies, rights, roles, structure, surroundings, tables, views

_WEAKNESSES: Final[dict[str, Gap]] = {
    "row level security is off": policies.GAPS["off"],
    "sees everything": policies.GAPS["sees everything"],
    "authenticated bypasses": roles.GAPS["authenticated bypasses"],
    "a script that grants everything": rights.GAPS["a script that grants everything"],
    "the policies are gone": policies.GAPS["no policies at all"],
    "auth.uid() is the victim": surroundings.GAPS["auth.uid() is the victim"],
    "a function is gone": structure.GAPS["no list_accounts()"],
}
_PATHS: Final[dict[str, Gap]] = {
    "a view": views.GAPS["a view"],
    "a view of a view": views.GAPS["a view of a view"],
    "a materialized view": views.GAPS["a materialized view"],
    "a function": functions.GAPS["returns all rows"],
    "nested functions": functions.GAPS["calls another"],
    "an aggregate": functions.GAPS["behind an aggregate"],
    "a parent": tables.GAPS["inherits from a table"],
    "a partition": tables.GAPS["a partition by list"],
    "a child": tables.GAPS["a table inherits from it"],
    "a rule": tables.GAPS["a rule on another table that updates"],
}


def _both(first: Gap, second: Gap) -> Gap:
    """The second is opened first, by whom it takes."""
    as_owner = "" if second.superuser else "set local role postgres;"
    as_superuser = "reset role;" if first.superuser else "set local role postgres;"
    return reached(
        f"{as_owner} {second.sql}; reset role; set local search_path to default; {as_superuser} {first.sql}",
        superuser=True,
    )


GAPS: Final[dict[str, Gap]] = {
    f"{weakness}, and {path}": _both(first, second)
    for weakness, first in _WEAKNESSES.items()
    for path, second in _PATHS.items()
} | {
    f"{path}, twice over": _both(views.GAPS["a view"], second) for path, second in _PATHS.items() if "view" not in path
}
