"""What a database's roles may do with its relations and functions, and what runs when they do it."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import psycopg

from edge_api.verify.conditions import is_open

_QUERY: Final = files(__package__).joinpath("reach.sql").read_bytes()
WRITES: Final = frozenset({"insert", "update", "delete", "truncate"})
VERBS: Final = WRITES | {"select"}
# What leads to a table that is not named: SQL that is put together, another user, another language, statistics
_NAMELESS: Final = re.compile(
    r"execute|set_config|\bset\s+(?:local\s+|session\s+)?\"?(?:role|session|request)|\blanguage (?!(?:sql|plpgsql)\b)"
    r"|\bdo\b|_to_xml|dblink|ts_stat|ts_rewrite|crosstab|connectby|pg_stat|\bu&"
)
_COMMANDS: Final = {"select": "r", "insert": "a", "update": "w", "delete": "d"}


@dataclass(frozen=True)
class Role:
    """One with whose rights something can run."""

    oid: str
    name: str
    is_exempt: bool
    """Whether no row level security applies to it."""
    actor: str | None
    """Of one that users have or can get, how it is called in findings."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Object:
    """A relation or a function, with what each role may do with it."""

    kind: str
    oid: str
    name: str
    schema: str
    names: list[str]
    """Its own without the schema, and those of the operators that call it."""
    rights: list[tuple[str, str]]
    """Role and verb. Beside SQL's own, `find`: look its name up; `give`: choose whose row it is; `pass`: row level
    security does not apply."""
    policies: list[dict[str, Any]]
    """Whether permissive, the command, the expressions `using` and `check`, and the roles to which it applies."""
    is_protected: bool
    is_expected: bool | None
    """Whether the migrations create it; nothing for what is neither theirs nor `auth.users`."""
    is_copy: bool
    """Whether users' rows were copied to it."""
    closing: list[str] | None
    """The statements that keep users from it, if neither the migrations nor Supabase create it."""
    is_referenced: bool | None
    """Whether something calls it for whom may not look its name up."""
    is_scalar: bool | None
    """Whether its result is a number, a date, yes or no, or nothing."""
    search_path: list[str] | None

    def verbs(self, role: str) -> frozenset[str]:
        """What a role may do with it, row level security aside."""
        return frozenset(verb for grantee, verb in self.rights if grantee == role)

    def foreign(self, role: str) -> frozenset[str]:
        """What a role may do with the rows of others in a relation."""
        verbs = self.verbs(role)
        if "pass" in verbs:
            return verbs & VERBS
        found = verbs & {"truncate"}
        for verb, command in _COMMANDS.items():
            policies = [each for each in self.policies if each["command"] in {"*", command} and role in each["roles"]]
            reads = verb != "insert" and _are_open(policies, "using")
            gives = verb in {"insert", "update"} and "give" in verbs and _are_open(policies, "check")
            found |= verbs & {verb} if reads or gives else frozenset()
        return found


def _are_open(policies: Sequence[dict[str, Any]], clause: str) -> bool:
    """Whether rows of others are let through: by any permissive policy, and by all restrictive ones."""
    opens = {(each["permissive"], is_open(each[clause])) for each in policies}
    return (True, True) in opens and (False, False) not in opens


@dataclass(frozen=True)
class Code:
    """What runs when an object is used: the query of a view, a rule, a trigger, the body of a function."""

    object: str
    kind: str
    name: str
    verbs: list[str]
    """What has to be done to a relation for it to run."""
    checks: str | None
    """The role whose rights and policies count, if it is not whose that uses it."""
    runs: str | None
    """The current user, likewise."""
    fix: list[str]
    """What takes these roles from it."""
    text: str
    is_resolved: bool
    """Whether the names in it were looked up when it was created."""

    @property
    def label(self) -> str:
        """As findings name it."""
        return f"{self.kind} {self.name}"

    @property
    def is_query(self) -> bool:
        """Whether what is done to its object is done to what it selects from."""
        return self.kind.endswith("view")


class Model:
    """A database."""

    def __init__(self, rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
        self.roles = {document["oid"]: Role(**document) for kind, document in rows if kind == "role"}
        self.objects = {document["oid"]: Object(**document) for kind, document in rows if kind == "object"}
        self.codes: defaultdict[str, list[Code]] = defaultdict(list)
        for code in (Code(**document) for kind, document in rows if kind == "code"):
            self.codes[code.object].append(code)
        self._by_name: defaultdict[tuple[str, str], list[Object]] = defaultdict(list)
        for each in self.objects.values():
            for name in each.names:
                self._by_name[each.kind, name].append(each)
        self.functions = frozenset(f"{name}()" for kind, name in self._by_name if kind == "function")
        """Their names, with brackets."""
        self._forget_what_leads_nowhere()

    def named(self, kind: str, schema: str, name: str) -> list[Object]:
        """The tables or functions of a name, in any schema if none is given."""
        return [each for each in self._by_name.get((kind, name), []) if schema in {"", each.schema}]

    def _forget_what_leads_nowhere(self) -> None:
        """Leave out the code of what names neither a protected table nor what leads to one: it need not be parsed."""
        texts = {oid: "\n".join(code.text for code in codes).lower() for oid, codes in self.codes.items()}
        words = {oid: frozenset(re.findall(r"\w+", text)) for oid, text in texts.items()}
        leading = {oid for oid, text in texts.items() if _NAMELESS.search(text)}
        named = [each for each in self.objects.values() if each.is_protected or each.is_copy or each.oid in leading]
        while named:
            names = {name.lower().replace('"', '""') for each in named for name in each.names}
            others = {name for name in names if not name.isidentifier()}  # operators, and what has to be quoted
            rest = texts.keys() - leading
            found = {oid for oid in rest if words[oid] & names or any(name in texts[oid] for name in others)}
            leading |= found
            named = [self.objects[oid] for oid in found]
        for oid in texts.keys() - leading:
            del self.codes[oid]


def read(connection: psycopg.Connection) -> Model:
    """The model of a database. Inside a transaction whose search_path is empty and whose scope is set."""
    return Model(connection.execute(_QUERY).fetchall())
