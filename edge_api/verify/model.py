"""What a database's roles may do with its relations and functions, and what runs when they do it."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final, Literal

import psycopg

from edge_api.verify.conditions import limit_of

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

    oid: int
    name: str
    is_exempt: bool
    """Whether no row level security applies to it."""
    actor: str | None
    """Of one that users have or can get, how it is called in findings."""
    is_settable: bool
    """Whether a function that users call can become it."""


@dataclass(frozen=True)
class Policy:
    """A policy of a table, with the roles to which it applies."""

    permissive: bool
    command: str
    using: str | None
    check: str | None
    roles: list[int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Object:
    """A relation or a function, with what each role may do with it."""

    kind: str
    oid: int
    name: str
    schema: str
    names: list[str]
    """Its own without the schema, and those of the operators that call it."""
    rights: list[tuple[int, str]]
    """Role and verb. Beside SQL's own, `find`: look its name up; `give`: choose whose row it is; `pass`: row level
    security does not apply."""

    is_protected: bool = False
    is_expected: bool | None = None
    """Whether the migrations create it; nothing for what is neither theirs nor `auth.users`."""
    copy: Literal["certain", "undecided"] | None = None
    """Whether users' rows were copied to it."""
    closing: list[str] = field(default_factory=list)
    """The statements that keep users from it, if neither the migrations nor Supabase create it."""
    is_barrier: bool = False
    policies: list[Policy] = field(default_factory=list)
    says_whose: bool = False
    """Whether its columns `id` and `user_id` say whose row it is."""

    is_referenced: bool = False
    """Whether something calls it for whom may not look its name up."""
    is_extension: bool = False
    is_scalar: bool = False
    """Whether its result is a number, a date, yes or no, or nothing."""
    settings: dict[str, str] = field(default_factory=dict)

    def verbs(self, role: int) -> frozenset[str]:
        """What a role may do with it, row level security aside."""
        return frozenset(verb for grantee, verb in self.rights if grantee == role)

    @property
    def identity(self) -> list[tuple[str, str]]:
        """Who is calling by its settings, as `bodies.becomes` has it."""
        role = self.settings.get("role", "").strip("'\"")
        claims = any(name.startswith("request.") for name in self.settings)
        return [*([("role", role)] if role else []), *([("identity", "")] if claims else [])]


@dataclass(frozen=True)
class Code:
    """What runs when an object is used: the query of a view, a rule, a trigger, the body of a function."""

    object: int
    kind: str
    name: str
    verbs: frozenset[str]
    """What has to be done to a relation for it to run."""
    checks: int | None
    """The role whose rights and policies count, if it is not whose that uses it."""
    runs: int | None
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


@dataclass
class Model:
    """A database."""

    roles: dict[int, Role] = field(default_factory=dict)
    objects: dict[int, Object] = field(default_factory=dict)
    codes: defaultdict[int, list[Code]] = field(default_factory=lambda: defaultdict(list))
    _by_name: defaultdict[tuple[str, str], list[Object]] = field(default_factory=lambda: defaultdict(list))

    def add(self, item: Object) -> None:
        """Add a relation or a function."""
        self.objects[item.oid] = item
        for name in item.names:
            self._by_name[item.kind, name].append(item)

    def named(self, kind: str, schema: str, name: str) -> list[Object]:
        """The tables or functions of a name, in any schema if none is given."""
        found = self._by_name.get((kind, name.strip('"')), [])
        return [each for each in found if schema.strip('"') in {"", each.schema}]

    def forget_what_leads_nowhere(self) -> None:
        """Leave out the code of what names neither a protected table nor what leads to one: it need not be parsed."""
        texts = {oid: "\n".join(code.text for code in codes).lower() for oid, codes in self.codes.items()}
        words = {oid: frozenset(re.findall(r"\w+", text)) for oid, text in texts.items()}
        leading = {oid for oid, text in texts.items() if _NAMELESS.search(text)}
        named = [each for each in self.objects.values() if each.is_protected or each.copy or each.oid in leading]
        while named:
            names = {name.lower().replace('"', '""') for each in named for name in each.names}
            others = {name for name in names if not name.isidentifier()}  # operators, and what has to be quoted
            rest = texts.keys() - leading
            found = {oid for oid in rest if words[oid] & names or any(name in texts[oid] for name in others)}
            leading |= found
            named = [self.objects[oid] for oid in found]
        for oid in texts.keys() - leading:
            del self.codes[oid]

    def foreign(self, role: int, relation: Object) -> frozenset[str]:
        """What a role may do with the rows of others in a relation."""
        verbs = relation.verbs(role)
        if "pass" in verbs:
            return verbs & VERBS
        found = verbs & {"truncate"}
        for verb, command in _COMMANDS.items():
            policies = [each for each in relation.policies if each.command in {"*", command} and role in each.roles]
            reads = verb != "insert" and _are_open(policies, "using")
            gives = verb in {"insert", "update"} and "give" in verbs and _are_open(policies, "check")
            found |= verbs & {verb} if reads or gives else frozenset()
        return found


def _are_open(policies: Sequence[Policy], clause: Literal["using", "check"]) -> bool:
    """Whether rows of others are let through: by any permissive policy, and by all restrictive ones."""
    opens = {(each.permissive, limit_of(getattr(each, clause)) == "any") for each in policies}
    return (True, True) in opens and (False, False) not in opens


def read(connection: psycopg.Connection) -> Model:
    """The model of a database. Inside a transaction whose search_path is empty and whose scope is set."""
    model = Model()
    for kind, document in connection.execute(_QUERY):
        given = {key: value for key, value in document.items() if value is not None}
        match kind:
            case "role":
                model.roles[document["oid"]] = Role(**document)
            case "object":
                policies = [Policy(**policy) for policy in given.pop("policies", [])]
                model.add(Object(**given, policies=policies))
            case _:
                model.codes[document["object"]].append(Code(**document | {"verbs": frozenset(document["verbs"])}))
    model.forget_what_leads_nowhere()
    return model
