"""What an entry of the catalogue is: a change to a project's database, and what it does to the data."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final


class Effect(Enum):
    """What a change does. The oracle measures it, so that an entry cannot claim what does not happen."""

    REACHED = "a foreign row is read or written"
    LOCKED_OUT = "a user's own calls fail"
    WEAKER = "neither, but something that the migrations decide is different"
    TIGHTER = "less is allowed than the migrations allow, and each user's calls work"
    OWN = "the project's own"


# The highest level among the findings that is right for each.
_LEVELS: Final = {
    Effect.REACHED: "error",
    Effect.LOCKED_OUT: "error warning",
    Effect.WEAKER: "warning info",
    Effect.TIGHTER: "info none",
    Effect.OWN: "none",
}
# For what the oracle does not try: somebody with SQL of their own, or a later moment.
CONTESTED: Final = "error warning"


@dataclass(frozen=True)
class Gap:
    """A change to a database that has the migrations in."""

    sql: str
    effect: Effect
    levels: str = ""
    """The levels that are right, where they are not those of the effect."""
    attack: str = ""
    """What an actor runs to get at a foreign row, where trying each relation and function is not enough.

    `{account}`, `{user}` and `{other}` are the ids of the victim's account, of the victim and of a user without an
    account. Its result is examined as any other; the single value true also means that a row was reached.
    """
    superuser: bool = False
    """Whether it takes a superuser; the others are made by the role that a project's owner has."""
    only_person: bool = False
    """Whether a person has to decide about the fix: what is left has advice, and an error where a row is reached."""
    loses_rows: bool = False
    """Whether the rows are gone: afterwards, the calls of a new user are what must work."""
    data_in_the_way: bool = False
    """Whether the script may fail as a whole, because a person has to change rows first."""
    since: int = 0
    """The first major version of PostgreSQL that has it."""

    @property
    def right_levels(self) -> frozenset[str]:
        return frozenset((self.levels or _LEVELS[self.effect]).split())


def reached(sql: str, **options: Any) -> Gap:
    return Gap(sql, Effect.REACHED, **options)


def undecidable(sql: str, **options: Any) -> Gap:
    """Reached, but only running the code tells: a warning is enough, and a person decides about the code."""
    return Gap(sql, Effect.REACHED, CONTESTED, only_person=True, **options)


def locked_out(sql: str, **options: Any) -> Gap:
    return Gap(sql, Effect.LOCKED_OUT, **options)


def weaker(sql: str, **options: Any) -> Gap:
    return Gap(sql, Effect.WEAKER, **options)


def contested(sql: str, **options: Any) -> Gap:
    return Gap(sql, Effect.WEAKER, CONTESTED, **options)


def tighter(sql: str, **options: Any) -> Gap:
    return Gap(sql, Effect.TIGHTER, **options)


def own(sql: str, **options: Any) -> Gap:
    return Gap(sql, Effect.OWN, **options)
