"""What an entry of the catalogue is: a change to a project's database, and what it does to the data."""

from dataclasses import dataclass
from enum import Enum, auto


class Effect(Enum):
    """What a change does. The oracle measures it, so that an entry cannot claim what does not happen."""

    REACHED = auto()
    """A foreign row is read or written: verify reports an error."""
    LOCKED_OUT = auto()
    """A user's own calls fail: verify reports an error or a warning."""
    WEAKER = auto()
    """Neither, but something that the migrations decided is different: verify reports it, and not as an error."""
    TIGHTER = auto()
    """Less is allowed than the migrations allow, and the calls work: silent or info, without SQL that undoes it."""
    OWN = auto()
    """The project's own: verify is silent."""


@dataclass(frozen=True)
class Gap:
    """A change to a database that has the migrations in."""

    sql: str
    effect: Effect = Effect.REACHED
    attack: str = ""
    """What an actor runs to get at a foreign row, where trying each relation and function is not enough.

    `{account}`, `{user}` and `{other}` are the ids of the victim's account, of the victim and of a user without an
    account. Its result is examined like any other; the single value true also means that a row was reached.
    """
    superuser: bool = False
    """Whether it takes a superuser; the others are made by the role that a project's owner has."""
    undecidable: bool = False
    """Whether a warning is enough, because only running the code could tell: dynamic SQL."""
    only_person: bool = False
    """Whether a person has to decide about the fix: what is left has advice, and an error if a row is still reached."""
    may_be_error: bool = False
    """Whether an error is right too, although nothing was reached: a way that the oracle does not try is open."""
    since: int = 0
    """The first PostgreSQL version that has it."""


def reached(sql: str, **options: str | bool | int) -> Gap:
    return Gap(sql, Effect.REACHED, **options)  # type: ignore[arg-type]
