"""Which rows the conditions of a query let through, as far as its text tells."""

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from edge_api.verify import syntax
from edge_api.verify.expressions import claim, defaulted, equalities, equality, facts
from edge_api.verify.syntax import Tree

Passes = Literal["nothing", "own", "asked", "any"]
"""No row; those of the caller; those that another table or a function lets them have; perhaps others', too."""

ORDER: Final[tuple[Passes, ...]] = ("nothing", "own", "asked", "any")
# The columns that say whose a row is.
OWNERS: Final = ("id", "user_id")
# Their rows are what is protected: to have one lets nobody have another's.
_PROTECTED: Final = frozenset({"user_accounts", "users"})
# Of the token, what users cannot choose.
_APPOINTED: Final = re.compile(r"sub|email|app_metadata(\..+)?")
# A text that is neither empty nor a boolean that is false.
_CONSTANT: Final = re.compile(r"(?!(?:f|false|n|no|off|0)$)[\w @.+-]+")
_AGGREGATES: Final = frozenset({"count", "sum", "min", "max", "avg", "array_agg", "string_agg", "bool_or", "bool_and"})
VERBS: Final[Mapping[str, frozenset[str]]] = {
    "SelectStmt": frozenset({"select"}),
    "InsertStmt": frozenset({"insert"}),
    "UpdateStmt": frozenset({"update"}),
    "DeleteStmt": frozenset({"delete"}),
    "MergeStmt": frozenset({"insert", "update", "delete"}),
}
"""The queries, and what they do to their table."""

Column = tuple[str, str]
"""The name of a source or of a record, and of a column; nothing, and the name of a variable."""


Known = Mapping[Column, Passes]
"""Whose id or row a column or a variable names. What is in it is no column of another source."""


def strictest(limits: Iterable[Passes]) -> Passes:
    """What is let through where all of them hold."""
    return min(limits, key=ORDER.index, default="any")


def loosest(limits: Iterable[Passes]) -> Passes:
    """What is let through where one of them holds."""
    return max(limits, key=ORDER.index, default="nothing")


@dataclass(frozen=True)
class Source:
    """A relation, or a query in brackets, that rows come from or go to."""

    alias: str
    schema: str = ""
    name: str = ""
    query: Tree = None
    renamed: bool = False
    """Whether its columns are given other names."""

    @property
    def is_table(self) -> bool:
        """Whether its columns have the names of a table's, or a view's."""
        return self.query is None and not self.renamed


class Scope:
    """A query without set operators, with what its conditions and what is known let through of each of its sources."""

    def __init__(self, kind: str, fields: Tree, known: Known, member: Tree = None) -> None:
        self.kind, self.fields = kind, fields
        self.gate: Passes = "any"
        """Who gets rows at all, whatever the row."""
        items = [*fields.get("fromClause", ()), *fields.get("usingClause", ()), fields.get("sourceRelation")]
        read = [_sources(item) for item in items if item]
        target = [_source(fields["relation"])] if "relation" in fields else []
        self.target = target[0] if target else None
        self.sources = [*target, *(source for sources, _ in read for source in sources)]
        conditions = [condition for _, joined in read for condition in joined]
        self.others = [*conditions, {key: value for key, value in fields.items() if key not in _FROM}]
        """What is no source, and may have queries in it."""
        conditions += [each.get("whereClause", _TRUE) for each in (fields, fields.get("onConflictClause", {}))]
        results = fields.get("returningList" if target else "targetList", ())
        self.targets = [target for each in results for target in _target(each["ResTarget"])]
        """The names and expressions of its result; for an asterisk, those that say whose a row is."""
        conditions += [equality(value, member) for _, value in self.targets if member]
        aliases = {source.alias for source in self.sources}
        self.known = {column: limit for column, limit in known.items() if column[0] not in aliases}
        for source in self.sources:
            for name, limit in selected(source.query, self.known) if source.query and not source.renamed else ():
                self.learn((source.alias, name), limit)
        self._follow([fact for condition in conditions for fact in facts(condition)])

    def _follow(self, found: Sequence[Tree]) -> None:
        """Follow what is true, from who is calling to what equals that."""
        present = [fact["NullTest"]["arg"] for fact in found if "NullTest" in fact]
        found = [fact["Maybe"] if self._is_sure(fact, present) else fact for fact in found]
        simple = [fact for fact in found if "Or" not in fact]
        pairs = [(self.column(side), other) for fact in simple for side, other in equalities(fact)]
        before = None
        while before != self.known:
            before = dict(self.known)
            for (alias, name), other in ((column, other) for column, other in pairs if column):
                limit = self.value(other)
                self.learn((alias, name), limit)
                if (source := self.source(alias)) and name not in OWNERS and self.of(source) != "any":
                    self.learn(("", name), limit)  # what looks like a column may be a parameter
        self.gate = strictest([self.gate, *(self._gate(fact) for fact in simple)])
        for branches in ([self._branch([*simple, *each]) for each in fact["Or"]] for fact in found if "Or" in fact):
            self.gate = strictest([self.gate, loosest(branch.gate for branch in branches)])
            columns = {(source.alias, name) for source in self.sources for name in OWNERS}
            for column in columns.union(*(branch.known for branch in branches)):
                self.learn(column, loosest(branch._tells(column) for branch in branches))

    def _branch(self, found: Sequence[Tree]) -> "Scope":
        """The same query where more is true."""
        branch = copy(self)
        branch.known = dict(self.known)
        branch._follow(found)
        return branch

    def _tells(self, column: Column) -> Passes:
        """Whose rows those are that a column is of, or whose it names."""
        source = self.source(column[0])
        return self.of(source) if source and source.is_table else strictest([self.gate, self.says(column)])

    def _is_sure(self, fact: Tree, present: Sequence[Tree]) -> bool:
        """Whether an equality is not null for who is calling, so that it is true where it is not false."""
        for side, other in equalities(fact.get("Maybe")):
            match defaulted(side), other:
                case (_, {"A_Const": str(_)}), {"A_Const": str(_)}:
                    return True
                case _, {"A_Const": str(_)} if claim(side) == "role":
                    return True
                case _, {"SubLink": {"subLinkType": "EXPR_SUBLINK"}}:  # without a row, it is null
                    return False
            if side in present and self.value(side) == "own":
                return True
        return False

    def learn(self, column: Column, limit: Passes) -> None:
        """Note what a condition tells of a column."""
        if limit != "any":
            self.known[column] = strictest([self.known.get(column, "any"), limit])

    def source(self, alias: str) -> Source | None:
        """A source, by its name in the query."""
        return next((each for each in self.sources if each.alias == alias), None)

    def of(self, source: Source) -> Passes:
        """What limits a source."""
        owners = () if source.renamed else OWNERS
        return strictest([self.gate, *(self.known.get((source.alias, name), "any") for name in owners)])

    def says(self, column: Column) -> Passes:
        """Whose id or row a column names."""
        alias, name = column
        source = self.source(alias)
        if source is None or not source.is_table:
            return strictest(self.known.get(each, "any") for each in (column, (alias, "")))
        if source.name in _PROTECTED:
            return strictest(self.known.get((alias, each), "any") for each in OWNERS if name in OWNERS)
        linked = strictest(limit for (of, _), limit in self.known.items() if of == alias)
        return loosest([linked, "asked"])

    def inside(self) -> Known:
        """What the queries inside may know."""
        columns = [(source.alias, name) for source in self.sources for name in (*OWNERS, "")]
        return {column: self.says(column) for column in (*self.known, *columns)}

    def column(self, node: Tree) -> Column | None:
        """The column or the variable that an expression is."""
        match node:
            case {"ColumnRef": {"fields": [*_, str(of), str(name)]}}:
                return (of, name)
            case {"ColumnRef": {"fields": [str(name)]}}:
                sources = [source for source in self.sources if not source.renamed and ("", name) not in self.known]
                if name == "user_id":
                    sources = [source for source in sources if source.name == "user_accounts"] or sources
                return (sources[0].alias if len(sources) == 1 else "", name)
        return None

    def value(self, node: Tree) -> Passes:
        """Whose id or row a value is: the caller's, or that of whom a table or a function of the project's says."""
        match node:
            case _ if claim(node) == "sub":
                return "own"
            case {"SubLink": {"subselect": query}}:
                return next((limit for _, limit in selected(query, self.inside())), "any")
            case (
                {"List": {"items": values}} | {"A_ArrayExpr": {"elements": values}} | {"CoalesceExpr": {"args": values}}
            ):
                return loosest(self.value(each) for each in values)
            case {"FuncCall": {"funcname": ["accounts_private", "active_account_ids"]}}:
                return "own"
            case {"ColumnRef": _}:
                return self.says(column) if (column := self.column(node)) else "any"
        return _called(node)

    def _gate(self, fact: Tree) -> Passes:
        """Whether a condition holds for nobody, or for some callers whatever the row."""
        for side, other in equalities(fact):
            left, default = defaulted(side)
            match other:
                case {"A_Const": str(text)} if default != other and _CONSTANT.fullmatch(text):
                    if claim(left) == "role" and text == "service_role":
                        return "nothing"
                    return "asked" if _APPOINTED.fullmatch(claim(left) or "") else self._asked(left)
                case {"SubLink": _} if claim(side) == "sub":
                    return self._asked(other, side)
        return "nothing" if fact in _NEVER else self._asked(fact)

    def _asked(self, node: Tree, member: Tree = None) -> Passes:
        """What a function, or a query that has to have a row or a member, is asked about who is calling."""
        match node:
            case {"SubLink": {"subLinkType": kind, "subselect": query}} if member or kind != "ANY_SUBLINK":
                found = scopes(query, self.inside(), member)
            case _:
                return _called(node)
        gates = []
        for scope in found:
            called = {target["FuncCall"]["funcname"][-1] for _, target in scope.targets if "FuncCall" in target}
            if kind == "EXISTS_SUBLINK" and called & _AGGREGATES and "groupClause" not in scope.fields:
                return "any"  # a row is always there
            tables = [source for source in scope.sources if source.is_table and source.name not in _PROTECTED]
            gates.append(strictest([scope.gate, *(scope.says((source.alias, "")) for source in tables)]))
            for column, limit in scope.known.items() if len(found) == 1 else ():
                if scope.source(column[0]) is None:  # of a row, or a variable, outside
                    self.learn(column, limit)
        return loosest(gates)


_TRUE: Final[Tree] = {"A_Const": True}
_FROM: Final = frozenset({"fromClause", "usingClause", "sourceRelation", "larg", "rarg"})
_NEVER: Final[Sequence[Tree]] = ({"A_Const": False}, {"A_Const": None})


def scopes(statement: Tree, known: Known, member: Tree = None) -> list[Scope]:
    """The queries of a statement, between its set operators."""
    ((kind, fields),) = statement.items()
    if "larg" in fields:
        found = [scope for side in ("larg", "rarg") for scope in scopes(fields[side], known, member)]
        found[0].others.append({key: value for key, value in fields.items() if key not in _FROM})
        return found
    rows = [[{"ResTarget": {"val": value}} for value in row["List"]["items"]] for row in fields.get("valuesLists", [])]
    return [Scope(kind, each, known, member) for each in [{"targetList": row} for row in rows] or [fields]]


def selected(statement: Tree, known: Known) -> list[tuple[str, Passes]]:
    """The names of what a statement selects, and whose ids or rows that are."""
    found = scopes(statement, known)
    rows = [[scope.value(target) for _, target in scope.targets] for scope in found]
    return [(name, loosest(column)) for (name, _), *column in zip(found[0].targets, *rows, strict=False)]


def _target(target: Tree) -> list[tuple[str, Tree]]:
    match target:
        case {"val": {"ColumnRef": {"fields": [*path, {"A_Star": _}]}}}:
            return [(name, {"ColumnRef": {"fields": [*path, name]}}) for name in OWNERS]
        case {"val": {"ColumnRef": {"fields": [*_, str(name)]}} as value}:
            return [(target.get("name", name), value)]
    return [(target.get("name", ""), target["val"])]


def _sources(item: Tree) -> tuple[list[Source], list[Tree]]:
    """The sources of an item of from, and the conditions of its joins that hold for all of them."""
    match item:
        case {"JoinExpr": {"larg": left, "rarg": right, "jointype": kind} as join}:
            (lefts, of_lefts), (rights, of_rights) = _sources(left), _sources(right)
            on = join.get("quals", _TRUE)
            match kind:
                case "JOIN_LEFT":
                    return [*lefts, *_optional(rights, right, on)], of_lefts
                case "JOIN_RIGHT":
                    return [*_optional(lefts, left, on), *rights], of_rights
                case "JOIN_FULL":
                    return [*_optional(lefts, left, _TRUE), *_optional(rights, right, _TRUE)], [{"FullJoin": on}]
            same = join.get("usingClause", []) if len(lefts) == len(rights) == 1 else []  # no third has the column
            pairs = [[{"ColumnRef": {"fields": [side[0].alias, name]}} for side in (lefts, rights)] for name in same]
            return [*lefts, *rights], [*of_lefts, *of_rights, on, *(equality(*pair) for pair in pairs)]
        case {"RangeTableSample": {"relation": relation}}:
            return _sources(relation)
    return [_source(item)], []


def _optional(sources: Sequence[Source], item: Tree, on: Tree) -> list[Source]:
    """The side of a join that has rows only where its condition holds: what selects them."""
    found = []
    for alias in (source.alias for source in sources):
        target = {"ResTarget": {"val": {"ColumnRef": {"fields": [alias, {"A_Star": {}}]}}}}
        query = {"SelectStmt": {"targetList": [target], "fromClause": [item], "whereClause": on}}
        found.append(Source(alias, query=query))
    return found


def _source(item: Tree) -> Source:
    (fields,) = item.values()
    alias = fields.get("alias", {})
    name = alias.get("aliasname", f"*{id(fields)}")
    match fields:
        case {"relname": relation}:
            name = alias.get("aliasname", relation)
            return Source(name, fields.get("schemaname", ""), relation, renamed="colnames" in alias)
        case {"subquery": query}:
            return Source(name, query=query, renamed="colnames" in alias)
        case {"functions": [{"List": {"items": [{"FuncCall": {"funcname": [*_, function]}} as call, *_]}}]}:
            query = {"SelectStmt": {"targetList": [{"ResTarget": {"val": call}}]}}
            return Source(alias.get("aliasname", function), query=query)
    return Source(name, query={"SelectStmt": {"sortClause": fields}})


def _called(node: Tree) -> Passes:
    """What the call of a function of the project's lets through."""
    match node:
        case {"FuncCall": {"funcname": [*path, _]}} if path not in (["auth"], ["pg_catalog"]):
            return "asked"
    return "any"


def _where(expression: str) -> Tree:
    statements = syntax.read(f"select from public.user_accounts where {expression}").statements
    return statements[0]["SelectStmt"] if statements else {}


def conjuncts(expression: str | None) -> frozenset[str]:
    """What has to hold at once; nothing for no expression."""
    return frozenset(repr(fact) for fact in facts(_where(expression or "true").get("whereClause", _TRUE)))


@cache
def limit_of(expression: str | None) -> Passes:
    """What a policy's expression lets through."""
    # in a policy, the current user is who is calling
    where = _where(re.sub(r"\bcurrent_user\b", "auth.role()", expression or "true", flags=re.IGNORECASE))
    scope = Scope("SelectStmt", where, {})
    return strictest(scope.of(source) for source in scope.sources)
