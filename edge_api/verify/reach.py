"""By which path do the API's roles reach rows of a protected table past its policies?

Each path is followed with two roles: the one that runs (`security definer` changes it) and the one whose rights and
policies count (a view changes it, too). What opens a path is closed in the model as its fix closes it in the database,
until no path is left: so the fixes of all findings together close all of them.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edge_api.verify import bodies
from edge_api.verify.findings import Finding
from edge_api.verify.model import VERBS, WRITES, Document, Model

_OPEN_ROLES: Final = ("anon", "authenticated")
# Whoever calls what returns one of these gets no row of it.
_SCALARS: Final = {
    *("void", "boolean", "smallint", "integer", "bigint", "numeric", "real", "double precision", "date", "interval"),
    *("timestamp with time zone", "timestamp without time zone", "trigger", "event_trigger"),
}
_DOES: Final = {"select": "read", "insert": "add", "update": "change", "delete": "delete", "truncate": "truncate"}

Certainty = Literal["certain", "guarded", "mute", "undecided"]
_CERTAINTIES: Final[tuple[Certainty, ...]] = ("certain", "guarded", "mute", "undecided")


@dataclass(frozen=True)
class _Cut:
    """Where a path can be closed, and by which statements."""

    kind: Literal[
        "table", "role", "view", "copy", "rule", "function", "membership", "parent", "child", "key", "unknown"
    ]
    subject: str
    target: int
    fix: tuple[str, ...] = ()


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
        return _Step(target, runs, checked, verbs, max(self.certainty, certainty, key=_CERTAINTIES.index))


@dataclass(frozen=True)
class _Leak:
    """A path that ends at rows of others."""

    actor: str
    table: str
    verbs: frozenset[str]
    certainty: Certainty
    path: tuple[str, ...]
    cuts: tuple[_Cut, ...]


def findings(model: Model, tables: Sequence[str], closing: Sequence[str]) -> list[Finding]:
    """What reaches rows of the tables.

    Args:
        model: the database; changed on the way.
        tables: the protected ones, qualified.
        closing: the statements that give the tables and the roles back what the migrations and Supabase give them.
    """
    search = _Search(model, tables, tuple(closing))
    found: dict[_Cut, list[_Leak]] = {}
    while True:
        leaks = sorted(
            (leak for leak in search.leaks() if leak.cuts and leak.cuts[0] not in found),
            key=lambda leak: (_CERTAINTIES.index(leak.certainty), leak.cuts[0].kind != "table", len(leak.path)),
        )
        if not leaks:
            return [*(_finding(cut, paths) for cut, paths in found.items()), *search.ancestors()]
        cut = leaks[0].cuts[0]
        found[cut] = [leak for leak in leaks if leak.cuts[0] == cut and leak.certainty == leaks[0].certainty]
        search.close(cut)


def _finding(cut: _Cut, leaks: Sequence[_Leak]) -> Finding:
    certainty = leaks[0].certainty
    actors = " and ".join(dict.fromkeys(leak.actor for leak in leaks))
    verbs = ", ".join(text for verb, text in _DOES.items() if any(verb in leak.verbs for leak in leaks))
    path = " > ".join(leaks[0].path)
    message = f"{actors} can {verbs} rows of other users in {leaks[0].table}: {path}"
    advice, fix = "", cut.fix
    if certainty == "guarded":
        message = f"only its own condition keeps {actors} from rows of other users in {leaks[0].table}: {path}"
    elif certainty == "mute":
        message = f"{actors} can learn about rows of other users in {leaks[0].table}, though not read them: {path}"
    elif certainty == "undecided":
        message = f"it cannot be decided whether {actors} can reach rows of other users in {leaks[0].table}: {path}"
    if certainty in {"mute", "undecided"} or (certainty == "guarded" and cut.kind == "function"):
        advice, fix = f"read it and decide; if it can do without: {'; '.join(cut.fix) or 'drop it'}", ()
    elif not fix:
        advice = "decide which of these rights is meant, and take back the others"
    return Finding("reach", "error" if certainty == "certain" else "warning", cut.subject, message, advice, fix)


class _Search:
    def __init__(self, model: Model, tables: Sequence[str], closing: tuple[str, ...]) -> None:
        self._model = model
        self._tables = tables
        self._closing = closing

    def leaks(self) -> Iterator[_Leak]:
        """All paths of all roles, from each the shorter first."""
        for name, role in self._actors():
            for actor, memberships in self._model.becomes(role).items():
                path = [f"member of {self._model.roles[m['roleid']]['name']}" for m in memberships]
                cuts = [self._membership(m) for m in memberships[:1]]
                yield from self._walk(name, actor, (name, *path), tuple(cuts))

    def _actors(self) -> Iterator[tuple[str, int]]:
        """The API's roles and their members, but for those that become service_role anyway, as the API itself does."""
        for oid, role in self._model.roles.items():
            becomes = {self._model.roles[each]["name"] for each in self._model.becomes(oid)}
            if role["name"] in _OPEN_ROLES or (
                becomes & {*_OPEN_ROLES} and "service_role" not in becomes and not role["superuser"]
            ):
                yield role["name"], oid

    def _membership(self, membership: Document) -> _Cut:
        group, member, grantor = (
            self._model.roles[membership[key]]["quoted"] for key in ("roleid", "member", "grantor")
        )
        by = f" granted by {grantor}" if "set_option" in membership else ""
        fix = f"revoke {group} from {member}{by} cascade"
        return _Cut("membership", f"role {member}", membership["id"], (fix,))

    def _walk(self, name: str, actor: int, path: tuple[str, ...], cuts: tuple[_Cut, ...]) -> Iterator[_Leak]:
        pending = deque((step, path, cuts) for step in self._first(actor))
        seen = {step for step, *_ in pending}
        while pending:
            step, path, cuts = pending.popleft()
            after = self._relation if step.object in self._model.relations else self._function
            for following, label, cut in after(step, actor):
                way = (*path, label) if label else path
                cutting = (*cuts, cut) if cut else cuts
                if isinstance(following, _Step):
                    if following not in seen:
                        seen.add(following)
                        pending.append((following, way, cutting))
                else:
                    table, verbs, certainty = following
                    yield _Leak(name, table, verbs, certainty, way, cutting)

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

    def _relation(self, step: _Step, actor: int) -> Iterator[tuple["_Step | _End", str, _Cut | None]]:
        model, relation = self._model, self._model.relations[step.object]
        name, owner = relation["name"], relation["owner"]
        owned_by = model.roles[owner]["name"] if owner in model.roles else "nobody"
        if relation["protected"]:
            verbs = model.foreign(step.checked, relation) & step.verbs
            if owner in model.holds(step.checked) and step.checked == actor:  # may alter it
                verbs = VERBS
            yield from self._copies(step, relation)
            if verbs:
                yield (
                    (name, verbs, step.certainty),
                    self._why(step.checked, relation),
                    self._table(relation, actor, step),
                )
        for parent, constraint in () if relation["protected"] else relation["keys"] or []:
            if verbs := model.foreign(step.checked, relation) & step.verbs & {"update", "delete"}:
                fix = f"alter table {parent} drop constraint {constraint}"
                cut = _Cut("key", f"constraint {constraint} on {parent}", step.object, (fix,))
                yield (parent, verbs, step.certainty), f"{name} by the foreign key {constraint}", cut
        if relation["kind"] in "vm":
            yield from self._query(step, relation, owned_by)
        yield from self._writes(step, relation, owned_by)
        bare = [table.rpartition(".")[2].strip('"') for table in self._tables]
        options = str(relation["options"]) if relation["kind"] == "f" else ""
        if any(word in options for word in bare):
            cut = _Cut("unknown", f"foreign table {name}", step.object)
            yield (self._tables[0], step.verbs, "undecided"), f"foreign table {name}", cut

    def _copies(self, step: _Step, relation: Document) -> Iterator[tuple["_End", str, _Cut]]:
        """To where triggers and rules write what is written to a protected table, if anybody may read it there."""
        model, name = self._model, relation["name"]
        texts = [(f"rule {rule} on {name}", text) for rule, _, text in relation["rules"] or []]
        for trigger, oid in relation["triggers"] or []:
            if function := model.functions.get(oid):
                texts.append((f"trigger {trigger} on {name}", function["text"]))
        for label, text in texts:
            for target, mention in self._named(text):
                copy = model.relations[target]
                readers = [role for role, oid in self._actors() if "select" in model.foreign(oid, copy)]
                if (
                    mention.verbs & {"insert", "update"}
                    and readers
                    and not copy["protected"]
                    and not copy["row_security"]
                ):
                    fix = f"alter table {copy['name']} enable row level security"
                    cut = _Cut("child", f"table {copy['name']}", target, (fix,))
                    yield (name, frozenset({"select"}), step.certainty), f"{copy['name']}, written by {label}", cut

    def _writes(self, step: _Step, relation: Document, owned_by: str) -> Iterator[tuple[_Step, str, _Cut | None]]:
        model, name, owner = self._model, relation["name"], relation["owner"]
        for rule, event, text in relation["rules"] or []:
            if event in step.verbs:
                cut = _Cut("rule", f"rule {rule} on {name}", step.object, (f"drop rule {rule} on {name}",))
                for target, mention in self._named(text):
                    verbs = mention.verbs & model.verbs(owner, model.relations[target])
                    if verbs and target != step.object and not mention.own:
                        following = step.to(target, step.runs, owner, verbs, "certain")
                        yield following, f"rule {rule} on {name} with the rights of {owned_by}", cut
        if step.verbs & WRITES:
            for trigger, function in relation["triggers"] or []:
                if function in model.functions:
                    following = step.to(function, step.runs, step.runs, frozenset(), "certain")
                    yield following, f"trigger {trigger} on {name}", None

    def _query(self, step: _Step, relation: Document, owned_by: str) -> Iterator["tuple[_Step, str, _Cut | None]"]:
        model, name = self._model, relation["name"]
        copied = relation["kind"] == "m"
        checked = step.runs if relation["invoker"] and not copied else relation["owner"]
        runs = relation["owner"] if copied else step.runs
        label, cut = f"view {name}", None
        if copied:
            label, cut = f"materialized view {name}", self._revocation(relation, step.checked)
        elif not relation["invoker"]:
            fix = (f"alter view {name} set (security_invoker = true)",)
            label, cut = f"view {name} with the rights of {owned_by}", _Cut("view", f"view {name}", step.object, fix)
        for target, mention in self._named(relation["text"], qualified=True):
            verbs = model.verbs(checked, model.relations[target]) & (step.verbs - WRITES if copied else step.verbs)
            # a condition limits what is seen through a view, not what is written to it
            limited = verbs - {"insert", "update"} if mention.own else frozenset()
            if verbs - limited:
                certainty: Certainty = "mute" if bodies.counts_only(relation["text"]) else "certain"
                yield step.to(target, runs, checked, verbs - limited, certainty), label, cut
            if limited and not relation["barrier"]:
                yield step.to(target, runs, checked, limited, "guarded"), label, cut
        for function in self._called(relation["text"], step.runs, any_schema=True):
            yield step.to(function, step.runs, step.runs, frozenset(), "certain"), f"view {name}", None

    def _function(self, step: _Step, actor: int) -> Iterator[tuple["_Step | _End", str, _Cut | None]]:
        model, function = self._model, self._model.functions[step.object]
        name, text = function["name"], function["text"]
        runs = function["owner"] if function["definer"] else step.runs
        if runs == actor and not function["parsed"] and function["kind"] != "a":
            return  # what it does, the caller may do without it
        label, cut = f"function {name}", None
        if function["definer"]:
            label += f" with the rights of {model.roles[runs]['name']}"
            cut = _Cut("function", f"function {name}", step.object, (f"alter routine {name} security invoker",))
        silent = function["returns"] in _SCALARS and not function["set"] and not bodies.carries_rows(text)
        for target, mention in self._named(text):
            relation = model.relations[target]
            verbs = mention.verbs & model.verbs(runs, relation)
            if verbs and (function["parsed"] or model.uses(runs, relation["schema"])):
                certainty: Certainty = "guarded" if mention.own else "certain"
                if silent and not verbs & WRITES:
                    certainty = "mute"
                yield step.to(target, runs, runs, verbs, certainty), label, cut
        aggregate = function["kind"] == "a"  # what runs in it needs no right of the caller's
        for other in self._called(text, None if aggregate else runs, any_schema=function["parsed"] or aggregate):
            if other != step.object:
                certainty = "mute" if silent else "certain"
                yield step.to(other, runs, runs, frozenset(), certainty), label, cut
        if runs != actor and bodies.is_dynamic(text):
            for relation in model.relations.values():
                if relation["name"] in self._tables and (verbs := model.foreign(runs, relation)):
                    yield (relation["name"], verbs, "undecided"), f"{label}, which runs SQL that it puts together", cut

    def ancestors(self) -> Iterator[Finding]:
        """The tables through which rows of the protected ones are read, once there is a right on them."""
        for relation in self._model.relations.values():
            if relation["protected"] and relation["above"] and relation["name"] not in {*self._tables, "auth.users"}:
                cut = self._table(relation, None, _Step(relation["oid"], relation["owner"], relation["owner"]))
                message = "is a parent of a protected table: a right on it is one on the rows of all users"
                yield Finding("reach", "warning", cut.subject, message, "", cut.fix)

    def _named(self, text: str, *, qualified: bool = False) -> Iterator[tuple[int, bodies.Mention]]:
        """The relations that a text mentions."""
        for mention in bodies.mentions(text):
            for oid in self._model.relations_named.get(mention.name, []):
                schema = self._model.schemas[self._model.relations[oid]["schema"]]["name"]
                if mention.schema == schema or (not mention.schema and not qualified):
                    yield oid, mention

    def _called(self, text: str, role: int | None, *, any_schema: bool) -> Iterator[int]:
        """The functions that a text calls and a role, if it needs a right, may execute."""
        for schema, name in bodies.calls(text):
            for oid in self._model.functions_named.get(name, []):
                function = self._model.functions[oid]
                if schema not in {"", self._model.schemas[function["schema"]]["name"]}:
                    continue
                if role is None or (
                    self._model.executes(role, function) and (any_schema or self._model.uses(role, function["schema"]))
                ):
                    yield oid

    def _why(self, role: int, relation: Document) -> str:
        name = relation["name"]
        if not relation["row_security"]:
            return f"{name}, whose row level security is disabled"
        if self._model.is_exempt(role, relation):
            return f"{name}, whose row level security does not apply to {self._model.roles[role]['name']}"
        return f"{name}, whose policies or rights let it through"

    def _revocation(self, relation: Document, role: int) -> _Cut:
        """Of all rights that the API's roles and their members have on a relation."""
        model, name = self._model, relation["name"]
        subject = f"{'materialized view' if relation['kind'] == 'm' else 'table'} {name}"
        open_to = {held for _, actor in self._actors() for held in model.holds(actor)} - {relation["owner"]}
        rights = [each for key in ("rights", "column_rights") for each in relation[key] or []]
        granted = sorted(open_to & {each[0] for each in rights})
        if not granted:
            for other, memberships in model.becomes(role).items():
                if memberships and model.roles[other]["name"] in {"pg_read_all_data", "pg_write_all_data"}:
                    return self._membership(memberships[0])
            return _Cut("copy", subject, relation["oid"])
        # the owner's "revoke" leaves what others have granted, but not without their right to
        others = {each[2] for each in rights if each[0] in granted} - {relation["owner"]}
        fix = [f"revoke grant option for all on table {name} from {self._quoted(other)} cascade" for other in others]
        grantees = ", ".join(self._quoted(each) for each in granted)
        return _Cut("copy", subject, relation["oid"], (*fix, f"revoke all on table {name} from {grantees} cascade"))

    def _quoted(self, role: int) -> str:
        return str(self._model.roles[role]["quoted"]) if role else "public"

    def _table(self, relation: Document, actor: int | None, step: _Step) -> _Cut:
        name, oid, by = relation["name"], relation["oid"], self._model.roles[step.checked]
        if step.checked == actor and by["bypasses"] and relation["row_security"] and by["name"] not in _OPEN_ROLES:
            return _Cut("role", f"role {by['quoted']}", actor, (f"alter role {by['quoted']} nobypassrls",))
        if name == "auth.users":
            return self._revocation(relation, step.checked)
        if name in self._tables:
            return _Cut("table", f"table {name}", oid, self._closing)
        if relation["above"]:
            statement = (
                "alter table {0} detach partition {1}" if relation["kind"] == "p" else "alter table {1} no inherit {0}"
            )
            children = (r["name"] for r in self._model.relations.values() if r["above"] and oid in (r["parents"] or []))
            return _Cut("parent", f"table {name}", oid, tuple(statement.format(name, child) for child in children))
        fix = f"alter table {name} enable row level security"
        if relation["row_security"]:
            fix = f"revoke all on table {name} from public, anon, authenticated cascade"
        return _Cut("child", f"table {name}", oid, (fix,))

    def close(self, cut: _Cut) -> None:
        """Change the model as the fix of a cut changes the database."""
        model = self._model
        relation = model.relations.get(cut.target, {})
        match cut.kind:
            case "table":
                relation |= {"row_security": True, "forced": True, "policies": [], "owner": -1}
                open_roles = {0, *(oid for oid, role in model.roles.items() if role["name"] in _OPEN_ROLES)}
                for oid in open_roles - {0}:
                    model.roles[oid] |= {"superuser": False, "bypasses": False}
                relation["rights"] = [right for right in relation["rights"] if right[0] not in open_roles]
            case "role":
                model.roles[cut.target]["bypasses"] = False
            case "parent":
                relation["protected"] = False
            case "child":
                relation |= {"row_security": True, "forced": True, "policies": []}
            case "view":
                relation["invoker"] = True
            case "copy":
                relation |= {"rights": [], "column_rights": []}
            case "rule":
                relation["rules"] = [rule for rule in relation["rules"] if f"rule {rule[0]} on" not in cut.subject]
            case "key":
                relation["keys"] = []
            case "function":
                model.functions[cut.target]["definer"] = False
            case "membership":
                model.memberships = [m for m in model.memberships if m["id"] != cut.target]
                model.changed()


_End = tuple[str, frozenset[str], Certainty]
