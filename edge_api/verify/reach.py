"""By which path do the API's roles reach rows of a protected table past its policies?

Each path is followed with two roles: the one that runs (`security definer` changes it) and the one whose rights and
policies count (a view changes it, too). What opens a path is closed in the model as its fix closes it in the database,
until no path is left: so the fixes of all findings together close all of them.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edge_api.verify import bodies
from edge_api.verify.cuts import Cut, Cuts
from edge_api.verify.findings import Finding
from edge_api.verify.model import VERBS, WRITES, Document, Model

# Whoever calls what returns one of these gets no row of it.
_SCALARS: Final = {
    *("void", "boolean", "smallint", "integer", "bigint", "numeric", "real", "double precision", "date", "interval"),
    *("timestamp with time zone", "timestamp without time zone", "trigger", "event_trigger"),
}
# Show values of columns to whom row level security does not hold for.
_STATISTICS: Final = {"pg_stats", "pg_stats_ext", "pg_stats_ext_exprs", "pg_statistic", "pg_statistic_ext_data"}
_DOES: Final = {"select": "read", "insert": "add", "update": "change", "delete": "delete", "truncate": "truncate"}

Certainty = Literal["certain", "guarded", "mute", "undecided"]
# What is said of each, the gravest first: {0} are the actors, {1} what they do, {2} is the table.
_MESSAGES: Final[dict[Certainty, str]] = {
    "certain": "{0} can {1} rows of other users in {2}",
    "guarded": "only its own condition keeps {0} from rows of other users in {2}",
    "mute": "{0} can learn about rows of other users in {2}, though not read them",
    "undecided": "it cannot be decided whether {0} can reach rows of other users in {2}",
}
_CERTAINTIES: Final = tuple(_MESSAGES)


@dataclass(frozen=True)
class _Step:
    """A relation or a function that is reached, by whom and how."""

    object: int
    runs: int
    """The current user."""
    checked: int
    """The role whose rights and policies count."""
    verbs: frozenset[str] = frozenset()
    certainty: Certainty = "certain"

    def to(self, target: int, runs: int, checked: int, verbs: frozenset[str], certainty: Certainty) -> "_Step":
        return _Step(target, runs, checked, verbs, self.with_certainty(certainty))

    def with_certainty(self, certainty: Certainty) -> Certainty:
        return max(self.certainty, certainty, key=_CERTAINTIES.index)


@dataclass(frozen=True)
class _Leak:
    """A path that ends at rows of others."""

    actor: str
    table: str
    verbs: frozenset[str]
    certainty: Certainty
    path: tuple[str, ...]
    cut: Cut
    """The first place where it can be closed."""


def findings(model: Model, tables: Sequence[str], closing: Sequence[str]) -> list[Finding]:
    """What reaches rows of the tables.

    Args:
        model: the database; changed on the way.
        tables: the protected ones, qualified.
        closing: the statements that give the tables and the roles back what the migrations and Supabase give them.
    """
    search = _Search(model, tables, tuple(closing))
    found: dict[Cut, list[_Leak]] = {}
    subjects = {f"table {table}" for table in tables}

    def rank(leak: _Leak) -> tuple[int, bool, int]:
        return _CERTAINTIES.index(leak.certainty), leak.cut.subject not in subjects, len(leak.path)

    # what ranks the same, none of the others closes
    while leaks := sorted((leak for leak in search.leaks() if leak.cut not in found), key=rank):
        for cut in dict.fromkeys(leak.cut for leak in leaks if rank(leak) == rank(leaks[0])):
            found[cut] = [leak for leak in leaks if leak.cut == cut and leak.certainty == leaks[0].certainty]
            cut.close()
        model.changed()
    return [*(_finding(cut, paths) for cut, paths in found.items()), *search.ancestors()]


def _finding(cut: Cut, leaks: Sequence[_Leak]) -> Finding:
    certainty = leaks[0].certainty
    actors = " and ".join(dict.fromkeys(leak.actor for leak in leaks))
    verbs = ", ".join(text for verb, text in _DOES.items() if any(verb in leak.verbs for leak in leaks))
    message = f"{_MESSAGES[certainty].format(actors, verbs, leaks[0].table)}: {' > '.join(leaks[0].path)}"
    advice, fix = "", cut.fix
    if certainty in {"mute", "undecided"} or (certainty == "guarded" and cut.subject.startswith("function ")):
        advice, fix = f"read it and decide; if it can do without: {'; '.join(cut.fix) or 'drop it'}", ()
    elif not fix:
        advice = "decide which of these rights is meant, and take back the others"
    return Finding("reach", "error" if certainty == "certain" else "warning", cut.subject, message, advice, fix)


class _Search:
    def __init__(self, model: Model, tables: Sequence[str], closing: tuple[str, ...]) -> None:
        self._model = model
        self._tables = tables
        self.cuts = Cuts(model, tables, closing)

    def leaks(self) -> Iterator[_Leak]:
        """All paths of all roles, from each the shorter first."""
        for name, role in self.cuts.actors():
            for actor, memberships in self._model.becomes(role).items():
                path = [f"member of {self._model.roles[m['roleid']]['name']}" for m in memberships]
                cut = self.cuts.membership(memberships[0]) if memberships else None
                yield from self._walk(name, actor, (name, *path), cut)

    def _walk(self, name: str, actor: int, path: tuple[str, ...], first: Cut | None) -> Iterator[_Leak]:
        relations = self._model.relations
        pending = deque((step, path, first) for step in self._first(actor))
        seen: set[tuple[_Step, Cut | None]] = {(step, None) for step, *_ in pending}
        while pending:
            step, path, first = pending.popleft()
            after = self._relation if step.object in relations else self._function
            for following, label, cut in after(step, actor):
                way, closing = (*path, label), first or cut
                if isinstance(following, _Step):
                    # all ways to rows of others are followed, so that each is closed in the same round
                    ends = relations.get(following.object, {}).get("protected")
                    if (state := (following, closing if ends else None)) not in seen:
                        seen.add(state)
                        pending.append((following, way, closing))
                elif closing:
                    yield _Leak(name, *following, way, closing)

    def _first(self, actor: int) -> Iterator[_Step]:
        model = self._model
        for oid, relation in model.relations.items():
            if model.uses(actor, relation["schema"]) and (verbs := model.verbs(actor, relation)):
                yield _Step(oid, actor, actor, verbs)
            elif relation["protected"] and relation["owner"] in model.holds(actor):
                yield _Step(oid, actor, actor, VERBS)
        for oid, function in model.functions.items():
            found = function["referenced"] or model.uses(actor, function["schema"])
            # a trigger's function cannot be called
            if found and model.executes(actor, function) and not function["returns"].endswith("trigger"):
                yield _Step(oid, actor, actor)

    def _relation(self, step: _Step, actor: int) -> Iterator[tuple["_Step | _End", str, Cut | None]]:
        model, relation = self._model, self._model.relations[step.object]
        name, owner = relation["name"], relation["owner"]
        owned_by = model.roles[owner]["name"] if owner in model.roles else "nobody"
        if relation["protected"]:
            verbs = model.foreign(step.checked, relation) & step.verbs
            if owner in model.holds(step.checked) and step.checked == actor:  # may alter it
                verbs = VERBS
            yield from self._copies(step, relation)
            if verbs:
                # what only tells of rows still writes all of them
                certainty = "certain" if step.certainty == "mute" and verbs & WRITES else step.certainty
                yield (
                    (name, verbs, certainty),
                    self._why(step.checked, relation),
                    self.cuts.table(relation, actor, step.checked),
                )
        for parent, constraint in () if relation["protected"] else relation["keys"] or []:
            if verbs := model.foreign(step.checked, relation) & step.verbs & {"update", "delete"}:
                fix = f"alter table {parent} drop constraint {constraint}"
                cut = Cut(f"constraint {constraint} on {parent}", (fix,), ((relation, {"keys": []}),))
                yield (parent, verbs, step.certainty), f"{name} by the foreign key {constraint}", cut
        read = model.foreign(step.checked, relation) & step.verbs & {"select"}
        if read and relation["copy"] and not relation["protected"]:
            label = f"{name}, which has rows and columns of the table"
            certainty = step.with_certainty(relation["copy"])
            yield (self._tables[0], read, certainty), label, self.cuts.child(relation)
        if relation["kind"] in "vm":
            yield from self._query(step, relation, owned_by)
        yield from self._writes(step, relation, owned_by, actor)
        bare = [table.rpartition(".")[2].strip('"') for table in self._tables]
        options = str(relation["options"]) if relation["kind"] == "f" else ""
        if any(word in options for word in bare):
            cut = Cut(f"foreign table {name}")
            yield (self._tables[0], step.verbs, "undecided"), f"foreign table {name}", cut

    def _copies(self, step: _Step, relation: Document) -> Iterator[tuple["_End", str, Cut]]:
        """To where triggers and rules write what is written to a protected table, if anybody may read it there."""
        model, name = self._model, relation["name"]
        texts = [(f"rule {rule} on {name}", text) for rule, _, text in relation["rules"] or []]
        for trigger, oid in relation["triggers"] or []:
            if function := model.functions.get(oid):
                texts.append((f"trigger {trigger} on {name}", function["text"]))
        for label, text in texts:
            for target, mention in self._named(text):
                copy = model.relations[target]
                readers = [role for role, oid in self.cuts.actors() if "select" in model.foreign(oid, copy)]
                if mention.verbs & {"insert", "update"} and readers and not copy["protected"]:
                    cut = self.cuts.child(copy)
                    yield (name, frozenset({"select"}), step.certainty), f"{copy['name']}, written by {label}", cut

    def _writes(
        self, step: _Step, relation: Document, owned_by: str, actor: int
    ) -> Iterator[tuple["_Step | _End", str, Cut | None]]:
        model, name, owner = self._model, relation["name"], relation["owner"]
        for rule, event, text in relation["rules"] or []:
            if event in step.verbs:
                others = [other for other in relation["rules"] if other[0] != rule]
                fix = f"drop rule {rule} on {name}"
                cut = Cut(f"rule {rule} on {name}", (fix,), ((relation, {"rules": others}),))
                for target, mention in self._named(text):
                    verbs = mention.verbs & model.verbs(owner, model.relations[target])
                    if verbs and target != step.object and not self._limited(actor, target, mention):
                        following = step.to(target, step.runs, owner, verbs, "certain")
                        yield following, f"rule {rule} on {name} with the rights of {owned_by}", cut
                if not bodies.is_readable(text):
                    yield from self._undecided({"text": text}, owner, f"rule {rule} on {name}", cut)
        if step.verbs & WRITES:
            for trigger, function in relation["triggers"] or []:
                if function in model.functions:
                    following = step.to(function, step.runs, step.runs, frozenset(), "certain")
                    yield following, f"trigger {trigger} on {name}", None
        for function in (relation["defaults"] or []) if "insert" in step.verbs else []:
            if function in model.functions and model.executes(step.runs, model.functions[function]):
                yield step.to(function, step.runs, step.runs, frozenset(), "certain"), f"a default of {name}", None

    def _query(
        self, step: _Step, relation: Document, owned_by: str
    ) -> Iterator[tuple["_Step | _End", str, Cut | None]]:
        model, name = self._model, relation["name"]
        copied = relation["kind"] == "m"
        checked = step.runs if relation["invoker"] and not copied else relation["owner"]
        runs = relation["owner"] if copied else step.runs
        label, cut = f"view {name}", None
        if copied:
            label, cut = f"materialized view {name}", self.cuts.revocation(relation, step.checked)
        elif not relation["invoker"]:
            fix = (f"alter view {name} set (security_invoker = true)",)
            label = f"view {name} with the rights of {owned_by}"
            cut = Cut(f"view {name}", fix, ((relation, {"invoker": True}),))
        for target, mention in self._named(relation["text"], qualified=True):
            verbs = model.verbs(checked, model.relations[target]) & (step.verbs - WRITES if copied else step.verbs)
            # a condition limits what is seen through a view, not what is written to it
            own = self._limited(step.runs, target, mention)
            limited = verbs - {"insert", "update"} if own else frozenset()
            if verbs - limited:
                certainty: Certainty = "mute" if bodies.counts_only(relation["text"]) else "certain"
                yield step.to(target, runs, checked, verbs - limited, certainty), label, cut
            if limited and not relation["barrier"]:
                yield step.to(target, runs, checked, limited, "guarded"), label, cut
        if not bodies.is_readable(relation["text"]):
            yield from self._undecided(relation, checked, label, cut)
        for function in self._called(relation["text"], runs, any_schema=True):
            if copied:
                yield step.to(function, runs, runs, frozenset(), "certain"), label, cut
            else:
                yield step.to(function, runs, runs, frozenset(), "certain"), f"view {name}", None

    def _function(self, step: _Step, actor: int) -> Iterator[tuple["_Step | _End", str, Cut | None]]:
        model, function = self._model, self._model.functions[step.object]
        name, text = function["name"], function["text"]
        runs, label, cut = step.runs, f"function {name}", None
        if function["definer"]:
            runs = function["owner"]
            label += f" with the rights of {model.roles[runs]['name']}"
            fix = (f"alter routine {name} security invoker",)
            cut = Cut(f"function {name}", fix, ((function, {"definer": False}),))
        elif runs == actor:
            yield from self._past_policies(function, label, actor)
            for role in self._becomes(function, actor):
                runs, cut = role, self.cuts.session(function, "role")
                label = f"function {name}, which becomes {model.roles[role]['name']}"
        if runs == actor and not function["parsed"] and function["kind"] != "a":
            return  # what it does, the caller may do without it
        silent = function["returns"] in _SCALARS and not function["set"] and not bodies.carries_rows(text)
        for target, mention in self._named(text, function=function):
            relation = model.relations[target]
            verbs = mention.verbs & model.verbs(runs, relation)
            if verbs and (function["parsed"] or model.uses(runs, relation["schema"])):
                certainty: Certainty = "guarded" if self._limited(actor, target, mention) else "certain"
                if silent and not verbs & WRITES:
                    certainty = "mute"
                yield step.to(target, runs, runs, verbs, certainty), label, cut
        aggregate = function["kind"] == "a"  # what runs in it needs no right of the caller's
        for other in self._called(text, None if aggregate else runs, any_schema=function["parsed"] or aggregate):
            if other != step.object:
                loud = not silent or bodies.carries_rows(model.functions[other]["text"])
                yield step.to(other, runs, runs, frozenset(), "certain" if loud else "mute"), label, cut
        if runs != actor and not function["extension"]:
            yield from self._undecided(function, runs, label, cut)

    def _undecided(
        self, document: Document, runs: int, label: str, cut: Cut | None
    ) -> Iterator[tuple["_End", str, Cut | None]]:
        """What a function, a view or a rule does that no text says."""
        does = ""
        if any(mention.name in _STATISTICS for mention in bodies.mentions(document["text"])):
            does = "which reads statistics of their values"
        elif not bodies.is_readable(document["text"]):
            does = "whose text cannot be read"
        elif bodies.is_dynamic(document["text"]):
            does = "which runs SQL that it puts together"
        for relation in self._model.relations.values() if does else ():
            if relation["name"] in self._tables and (verbs := self._model.foreign(runs, relation)):
                yield (relation["name"], verbs, "undecided"), f"{label}, {does}", cut

    def _past_policies(self, function: Document, label: str, actor: int) -> Iterator[tuple["_End", str, Cut]]:
        """How a function with the caller's rights gets past the policies: it sets who is calling, or precedes them."""
        text, read = function["text"], frozenset({"select"})
        changes = {setting for setting, value in bodies.becomes(text) if setting != "role" or not value}
        named, called = self._named(text, function=function), self._called(text, actor, any_schema=True)
        reads = any(named) or any(called) or bodies.is_dynamic(text)
        if changes and reads:
            certainty: Certainty = "certain" if "identity" in changes else "undecided"
            label = f"{label}, which sets who is calling"
            yield (self._tables[0], read, certainty), label, self.cuts.session(function, "request")
        if function["leakproof"] and bodies.carries_rows(text):
            fix = (f"alter {label} not leakproof",)
            cut = Cut(f"function {function['name']}", fix, ((function, {"leakproof": False}),))
            yield (self._tables[0], read, "certain"), f"{label}, which is leakproof and so precedes the policies", cut

    def _becomes(self, function: Document, actor: int) -> Iterator[int]:
        """The roles that a function sets and whoever logs in may."""
        model = self._model
        login = next((oid for oid, role in model.roles.items() if role["name"] == "authenticator"), actor)
        chosen = [value for setting, value in bodies.becomes(function["text"]) if setting == "role"]
        for name in {(function["settings"] or {}).get("role", "").strip("'\""), *chosen} - {""}:
            yield from (oid for oid in model.becomes(login) | model.becomes(actor) if model.roles[oid]["name"] == name)

    def _limited(self, actor: int, target: int, mention: bodies.Mention) -> bool:
        """Whether the condition beside a mention leaves the caller's rows only, or asks what the caller cannot set."""
        relation = self._model.relations[target]
        renames = not relation["protected"] and re.search(
            r"\bas \"?(user_id|id)\b", str(relation["text"]), re.IGNORECASE
        )
        limits = relation["protected"] or relation["kind"] in "vm"
        passes = mention.limit.passes != "any" and self._model.stand(actor, mention.limit.asks)
        return passes and limits and not renames

    def ancestors(self) -> Iterator[Finding]:
        """The tables through which rows of the protected ones are read, once there is a right on them."""
        for relation in self._model.relations.values():
            if relation["protected"] and relation["above"] and relation["name"] not in {*self._tables, "auth.users"}:
                cut = self.cuts.table(relation, None, relation["owner"])
                message = "is a parent of a protected table: a right on it is one on the rows of all users"
                yield Finding("reach", "warning", cut.subject, message, "", cut.fix)

    def _named(
        self, text: str, *, qualified: bool = False, function: Document | None = None
    ) -> Iterator[tuple[int, bodies.Mention]]:
        """The relations that a text mentions."""
        path = ((function or {}).get("settings") or {}).get("search_path")
        searched = [each.strip(' "') for each in path.split(",")] if path is not None else None
        for mention in bodies.mentions(text):
            found = self._model.named("table", mention.schema, mention.name)
            if not mention.schema and qualified:
                found = []
            elif not mention.schema and searched is not None:
                schemas = self._model.schemas
                found = [each for name in searched for each in found if schemas[each["schema"]]["name"] == name][:1]
            yield from ((each["oid"], mention) for each in found)

    def _called(self, text: str, role: int | None, *, any_schema: bool) -> Iterator[int]:
        """The functions that a text calls and a role, if it needs a right, may execute."""
        for schema, name in bodies.calls(text):
            for function in self._model.named("function", schema, name):
                if role is None or (
                    self._model.executes(role, function) and (any_schema or self._model.uses(role, function["schema"]))
                ):
                    yield function["oid"]

    def _why(self, role: int, relation: Document) -> str:
        name = relation["name"]
        if not relation["row_security"]:
            return f"{name}, whose row level security is disabled"
        if self._model.is_exempt(role, relation):
            return f"{name}, whose row level security does not apply to {self._model.roles[role]['name']}"
        return f"{name}, whose policies or rights let it through"


_End = tuple[str, frozenset[str], Certainty]
