"""Roles, relations and functions of a database, and what a role may do with them."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

import psycopg

from edge_api.verify.conditions import ORDER, Asked, Passes, answer, limit_of

_QUERY: Final = files(__package__).joinpath("reach.sql").read_bytes()
PUBLIC: Final = 0
WRITES: Final = frozenset({"insert", "update", "delete", "truncate"})
VERBS: Final = WRITES | {"select"}
_COMMANDS: Final = {"select": "r", "insert": "a", "update": "w", "delete": "d"}
OWNER_COLUMN: Final = "user_id"

Document = dict[str, Any]


@dataclass
class Model:
    """What can be changed in it stands for what a fix would change."""

    roles: dict[int, Document] = field(default_factory=dict)
    schemas: dict[int, Document] = field(default_factory=dict)
    relations: dict[int, Document] = field(default_factory=dict)
    functions: dict[int, Document] = field(default_factory=dict)
    memberships: list[Document] = field(default_factory=list)
    by_name: dict[tuple[str, str], list[Document]] = field(default_factory=lambda: defaultdict(list))
    _holds: dict[int, frozenset[int]] = field(default_factory=dict)

    def named(self, kind: str, schema: str, name: str) -> list[Document]:
        """The tables or functions of a name, in any schema if none is given."""
        found = self.by_name.get((kind, name.strip('"')), [])
        return [each for each in found if schema.strip('"') in {"", self.schemas[each["schema"]]["name"]}]

    def changed(self) -> None:
        """To be called when a role or a membership was changed."""
        self._holds.clear()

    def holds(self, role: int) -> frozenset[int]:
        """The roles whose rights a role has without doing anything for it."""
        if role not in self._holds:
            held = {role, PUBLIC}
            while more := {m["roleid"] for m in self.memberships if m["member"] in held and m["inherits"]} - held:
                held |= more
            self._holds[role] = frozenset(held)
        return self._holds[role]

    def becomes(self, role: int) -> dict[int, list[Document]]:
        """The roles that a role can become, and by which memberships."""
        found: dict[int, list[Document]] = {role: []}
        pending = [role]
        while pending:
            each = pending.pop(0)
            for m in self.memberships:
                if m["member"] == each and (m["sets"] or m["inherits"]) and m["roleid"] not in found:
                    found[m["roleid"]] = [*found[each], m]
                    pending.append(m["roleid"])
        return found

    def _predefined(self, role: int, name: str) -> bool:
        return any(each and self.roles[each]["name"] == name for each in self.holds(role))

    def uses(self, role: int, schema: int) -> bool:
        """Whether a role may look names up in a schema."""
        return bool(
            self.roles[role]["superuser"]
            or self.holds(role) & {*(self.schemas[schema]["users"] or []), self.schemas[schema]["owner"]}
            or self._predefined(role, "pg_read_all_data")
            or self._predefined(role, "pg_write_all_data")
        )

    def executes(self, role: int, function: Document) -> bool:
        """Whether a role may execute a function."""
        return bool(self.roles[role]["superuser"] or self.holds(role) & {*(function["users"] or []), function["owner"]})

    def verbs(self, role: int, relation: Document, column: str | None = None) -> frozenset[str]:
        """What a role may do with a relation, or with some columns of it, or with one column; row security aside."""
        held = self.holds(role)
        if self.roles[role]["superuser"]:
            return VERBS
        found = {
            verb
            for grantee, verb, _, name in relation["rights"] or []
            if grantee in held and (column is None or name in {None, column})
        }
        if self._predefined(role, "pg_read_all_data"):
            found.add("select")
        if self._predefined(role, "pg_write_all_data"):
            found |= WRITES - {"truncate"}
        return VERBS & found

    def is_exempt(self, role: int, relation: Document) -> bool:
        """Whether row level security does not apply to a role."""
        return bool(
            self.roles[role]["superuser"]
            or self.roles[role]["bypasses"]
            or not relation["row_security"]
            or (relation["owner"] in self.holds(role) and not relation["forced"])
        )

    def foreign(self, role: int, relation: Document) -> frozenset[str]:
        """What a role may do with the rows of others in a table."""
        verbs = self.verbs(role, relation)
        if self.is_exempt(role, relation):
            return verbs
        found = verbs & {"truncate"}
        for verb in verbs & set(_COMMANDS):
            using, check = (self._passes(role, relation, verb, clause) for clause in ("using", "check"))
            gives_away = verb in self.verbs(role, relation, OWNER_COLUMN)
            if (
                (verb in {"select", "delete"} and using == "any")
                or (verb == "insert" and check == "any" and gives_away)
                or (verb == "update" and using == "any" and (check == "any" or (check == "own" and gives_away)))
                or (verb == "update" and using == "own" and check == "any" and gives_away)
            ):
                found |= {verb}
        return frozenset(found)

    def _passes(self, role: int, relation: Document, verb: str, clause: str) -> Passes:
        """Which rows the policies let through: any permissive one, and all restrictive ones."""
        let: list[Passes] = ["nothing"]
        limits: list[Passes] = ["any"]
        for policy in relation["policies"] or []:
            if policy["command"] in {"*", _COMMANDS[verb]} and self.holds(role) & set(policy["roles"]):
                limit = limit_of(policy["using"] if policy[clause] is None else policy[clause])
                passes: Passes = limit.passes if self.stand(role, limit.asks) else "any"
                (let if policy["permissive"] else limits).append(passes)
        return min(max(let, key=ORDER.index), min(limits, key=ORDER.index), key=ORDER.index)

    def stand(self, role: int, asks: Iterable[Asked]) -> bool:
        """Whether a role cannot itself decide what the tables and functions that are asked say."""
        return all(self._stands(role, asked) for asked in asks)

    def _stands(self, role: int, asked: Asked) -> bool:
        found = self.named(*asked)
        if asked[0] == "function":
            return bool(found) and all(self._asks_the_caller(role, each["text"]) for each in found)
        return bool(found) and not any(self._may_add(role, each) for each in found)

    def _asks_the_caller(self, role: int, text: str) -> bool:
        limit = answer(text)
        return limit.passes != "any" and self.stand(role, limit.asks)

    def _may_add(self, role: int, relation: Document) -> bool:
        """Whether no policy that asks who is calling limits the rows that a role adds or changes."""
        verbs = self.verbs(role, relation) & {"insert", "update"}
        if not verbs or self.is_exempt(role, relation):
            return bool(verbs)
        return any(
            not re.search(r"\b(auth|accounts_private)\.", str(policy["check"] or policy["using"]))
            and limit_of(policy["check"] or policy["using"]).passes != "nothing"
            for policy in relation["policies"] or []
            if policy["permissive"]
            and policy["command"] in {"*", *(_COMMANDS[verb] for verb in verbs)}
            and self.holds(role) & set(policy["roles"])
        )


def read(connection: psycopg.Connection) -> Model:
    """The model of a database. Inside a transaction whose search_path is empty and whose scope is set."""
    model = Model()
    for kind, document in connection.execute(_QUERY):
        match kind:
            case "role":
                model.roles[document["oid"]] = document
            case "membership":
                numbers = {key: int(document[key]) for key in ("roleid", "member", "grantor")}
                model.memberships.append(document | numbers)
            case "schema":
                model.schemas[document["oid"]] = document
            case "relation":
                model.relations[document["oid"]] = document
                model.by_name["table", document["bare"]].append(document)
            case _:
                model.functions[document["oid"]] = document
                for name in {document["bare"], *(document["operators"] or [])}:
                    model.by_name["function", name].append(document)
    return model
