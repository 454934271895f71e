"""Blocks of PL/pgSQL: what each statement runs, with what was checked before it."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from typing import Final

from edge_api.verify.conditions import OWNERS, VERBS, Column, Known, Passes, Scope, loosest, selected
from edge_api.verify.expressions import facts
from edge_api.verify.syntax import Text, Tree, nodes, parts, replaced

_ERROR: Final = 21
_FOUND: Final[Tree] = {"ColumnRef": {"fields": ["found"]}}
_QUERIES: Final = frozenset({"PLpgSQL_stmt_perform", "PLpgSQL_stmt_execsql"})
_NO_ROW: Final[Sequence[Tree]] = (None, {"A_Const": None}, {"A_Const": False})

Step = tuple[list[Tree], Known, Passes]
"""The statements of SQL that are run, what is known of variables, and who gets there."""


def steps(text: Text) -> Iterator[Step]:
    """What a text runs."""
    function = _Function(text)
    of_sql: list[Step] = [([*parts(text.statements)], function.own, "any")]
    yield from function.walk(text.statements, []) if text.variables else of_sql


def given(text: Text) -> Counter[str]:
    """How often each variable is given a value."""
    return Counter(name for kind, fields in nodes(text.statements) for name in _given(kind, fields, text.variables))


def _given(kind: str, fields: Tree, variables: Sequence[str]) -> list[str]:
    """The variables that a node gives a value."""
    match kind:
        case "PLpgSQL_stmt_assign" | "PLpgSQL_stmt_foreach_a":
            return [variables[fields.get("varno", 0)]]
        case "PLpgSQL_diag_item":
            return [variables[fields.get("target", 0)]]
        case "PLpgSQL_row":
            return [each["name"].partition(".")[0] for each in fields["fields"]]
        case "PLpgSQL_rec" | "PLpgSQL_var":
            return [fields["refname"]]
        case "PLpgSQL_stmt_call":  # only its declaration tells which of them
            return [str(each["fields"][-1]) for kind, each in nodes(fields) if kind == "ColumnRef"]
    return []


class _Function:
    def __init__(self, text: Text) -> None:
        self.own: dict[Column, Passes] = {("", name): "any" for name in text.parameters if name not in OWNERS}
        """What is known of parameters, and of variables that are given a value once."""
        self._text = text
        self._times = given(text)

    def walk(self, statements: Sequence[Tree], known_facts: Sequence[Tree]) -> Iterator[Step]:
        """Each statement of a list, where something is true."""
        before = _FOUND
        for statement in statements:
            ((kind, fields),) = statement.items()
            checked = Scope("", {"whereClause": {"BoolExpr": {"boolop": "AND_EXPR", "args": known_facts}}}, self.own)
            kept = {column: limit for column, limit in checked.known.items() if self._times.keys().isdisjoint(column)}
            known = {**self.own, **kept}
            found = [*parts(fields)]
            own = [part for part in found if isinstance(part, dict)]
            yield own, known, checked.gate
            self._learn(kind, fields, own, known)
            if kind == "PLpgSQL_stmt_if":
                known_facts = yield from self._branches(fields, known_facts, before)
            else:
                for body in (part for part in found if isinstance(part, list)):
                    yield from self.walk(body, known_facts)
            before = _FOUND
            if kind in _QUERIES and own and own[0].keys() <= VERBS.keys():
                before = {"SubLink": {"subLinkType": "EXISTS_SUBLINK", "subselect": own[0]}}

    def _branches(
        self, fields: Tree, known_facts: Sequence[Tree], before: Tree
    ) -> Generator[Step, None, Sequence[Tree]]:
        """The branches of an if; returns what is true after it."""
        denied = after = [*known_facts]
        for each in (
            {"cond": fields["cond"], "stmts": fields.get("then_body", [])},
            *(each["PLpgSQL_if_elsif"] for each in fields.get("elsif_list", [])),
        ):
            condition = replaced(each["cond"], lambda node: before if node == _FOUND else node)
            body = each.get("stmts", [])
            yield from self.walk(body, [*denied, *facts(condition)])
            leaves = denied is after and _leaves(body)
            denied = [*denied, *facts(condition, holds=False, or_null=True)]
            after = denied if leaves else after
        yield from self.walk(fields.get("else_body", []), denied)
        return after

    def _learn(self, kind: str, fields: Tree, own: Sequence[Tree], known: Known) -> None:
        """Whose id a statement keeps in a variable, or whose row in its fields."""
        found: dict[Column, Passes] = {}
        if kind == "PLpgSQL_stmt_assign":
            found["", self._text.variables[fields.get("varno", 0)]] = Scope("", {}, known).value(fields["expr"])
        elif own and own[0].keys() <= VERBS.keys():
            target = fields.get("target", fields.get("var"))
            names = [name for each in nodes(target) for name in _given(*each, self._text.variables)]
            columns = selected(own[0], known)
            if len(names) == len(columns):
                found |= {("", name): limit for name, (_, limit) in zip(names, columns, strict=True)}
            for column, limit in columns if len(names) == 1 else ():
                found[names[0], column] = loosest([limit, found.get((names[0], column), limit)])
        for (of, name), limit in found.items():
            variable = of or name
            if self._times[variable] == 1 and variable not in self._text.parameters and limit != "any":
                self.own[of, name] = limit


def _leaves(body: Sequence[Tree]) -> bool:
    """Whether it is the end for the caller."""
    match body:
        case [*_, {"PLpgSQL_stmt_raise": raised}]:
            return bool(raised.get("elog_level", _ERROR) >= _ERROR)
        case [*_, {"PLpgSQL_stmt_return": returned}]:
            return returned.get("expr") in _NO_ROW
    return False
