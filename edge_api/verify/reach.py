"""By which path do the API's roles reach rows of a protected table past its policies?

Each path is followed with two roles: the one that runs (`security definer` changes it) and the one whose rights and
policies count (a view changes it, too). It is closed at the first place that gives it another's rights. A view and a
function are followed as they are and as their fix leaves them: so the fixes of all findings together close all paths.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from edge_api.verify import bodies
from edge_api.verify.findings import Finding
from edge_api.verify.model import VERBS, WRITES, Code, Model, Object
from edge_api.verify.syntax import read

_DOES: Final = {"select": "read", "insert": "add", "update": "change", "delete": "delete", "truncate": "truncate"}
_BOOTSTRAP: Final = "10"
"""The role that created the cluster."""

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
class _Cut:
    """Where a path can be closed, and by which statements."""

    subject: str
    fix: tuple[str, ...]


@dataclass(frozen=True)
class _Step:
    """A relation or a function that is reached, by whom and how."""

    object: Object
    runs: str
    """The current user."""
    checked: str
    """The role whose rights and policies count."""
    verbs: frozenset[str]
    certainty: Certainty = "certain"
    cut: _Cut | None = None
    """The first place where the path can be closed."""

    def to(self, target: Object, verbs: frozenset[str], certainty: Certainty = "certain") -> "_Step":
        certainty = max(self.certainty, certainty, key=_CERTAINTIES.index)
        return replace(self, object=target, verbs=verbs, certainty=certainty)


_Path = tuple[str, ...]
"""The name of the actor, and what is used one after the other."""


def findings(model: Model, tables: Sequence[str], closing: Sequence[str]) -> list[Finding]:
    """What reaches rows of the tables.

    Args:
        model: the database.
        tables: the protected ones, qualified.
        closing: the statements that give the tables and the roles back what the migrations and Supabase give them.
    """
    found: defaultdict[_Cut, list[tuple[_Step, _Path]]] = defaultdict(list)
    for role in model.roles.values():
        for step, path in _Search(model, tables, role.oid).leaks((role.actor,)) if role.actor else ():
            table = step.object
            own = _Cut(f"table {table.name}", tuple((table.closing or ()) if table.is_expected is None else closing))
            # what the migrations give the table back closes it to all that are not exempt
            closes = table.is_expected and not model.roles[step.checked].is_exempt
            found[own if step.cut is None or closes else step.cut].append((step, path))
    return [_finding(cut, leaks) for cut, leaks in found.items()]


def _finding(cut: _Cut, leaks: Sequence[tuple[_Step, _Path]]) -> Finding:
    certainty = min((step.certainty for step, _ in leaks), key=_CERTAINTIES.index)
    leaks = sorted((leak for leak in leaks if leak[0].certainty == certainty), key=lambda leak: len(leak[1]))
    step, path = leaks[0]
    actors = " and ".join(dict.fromkeys(path[0] for _, path in leaks))
    verbs = ", ".join(text for verb, text in _DOES.items() if any(verb in step.verbs for step, _ in leaks))
    message = f"{_MESSAGES[certainty].format(actors, verbs, step.object.name)}: {' > '.join(path)}"
    if certainty != "certain":
        advice = f"read it and decide; if it can do without: {'; '.join(cut.fix) or 'drop it'}"
        return Finding("reach", "warning", cut.subject, message, advice, ())
    advice = (
        "" if cut.fix else "decide which of these rights, attributes or memberships is meant, and revoke the others"
    )
    return Finding("reach", "error", cut.subject, message, advice, cut.fix)


class _Search:
    """The paths of one role."""

    def __init__(self, model: Model, tables: Sequence[str], actor: str) -> None:
        self._model = model
        self._tables = [each for each in model.objects.values() if each.name in tables]
        self._actor = actor

    def leaks(self, start: _Path) -> Iterator[tuple[_Step, _Path]]:
        """The last steps of all paths to rows of others, the shorter first."""
        pending = deque((step, start) for step in self._first())
        seen = {step for step, _ in pending}
        while pending:
            step, path = pending.popleft()
            yield from ((last, (*path, label)) for label, last in self._last(step))
            for label, following in self._after(step):
                if following not in seen:
                    seen.add(following)
                    pending.append((following, (*path, label)))

    def _first(self) -> Iterator[_Step]:
        for each in self._model.objects.values():
            verbs = each.verbs(self._actor)
            if verbs & {*VERBS, "execute"} and (each.is_referenced or "find" in verbs):
                yield _Step(each, self._actor, self._actor, verbs & VERBS)

    def _last(self, step: _Step) -> Iterator[tuple[str, _Step]]:
        """The rows of others that are reached in a relation itself."""
        table, name = step.object, self._model.roles[step.checked].name
        verbs = table.foreign(step.checked) & step.verbs
        if step.certainty == "mute" and verbs & WRITES:
            step = replace(step, certainty="certain")
        if verbs and table.is_protected:
            yield f"{table.name}, whose row level security lets {name} through", step.to(table, verbs)
        elif "select" in verbs and table.is_copy:
            yield f"{table.name}, which has rows and columns of the table", step.to(table, verbs)

    def _after(self, step: _Step) -> Iterator[tuple[str, _Step]]:
        """What runs when an object is used, and what that uses."""
        for code in self._model.codes[step.object.oid]:
            through = step.verbs & {*code.verbs}
            for label, way in self._ways(code, step) if through or not code.verbs else ():
                yield from ((f"{label}, {does}", each) for does, each in self._undecided(code, way))
                # what is looked up as it runs, and with the caller's rights, the caller may do without it
                if code.is_resolved or way.runs != self._actor:
                    yield from ((label, each) for each in self._mentioned(code, replace(way, verbs=through)))
                    cut = way.cut if way.runs != step.runs else step.cut
                    yield from ((label, each) for each in self._called(code, replace(way, checked=way.runs, cut=cut)))

    def _ways(self, code: Code, step: _Step) -> Iterator[tuple[str, _Step]]:
        """With whose rights code runs: with others' until its fix takes them from it, and then with the user's."""
        if code.checks is not None:
            cut = step.cut or _Cut(code.label, tuple(code.fix))
            label = f"{code.label} with the rights of {self._model.roles[code.checks].name}"
            yield label, replace(step, runs=code.runs or step.runs, checked=code.checks, cut=cut)
        if code.checks is None or code.kind in {"view", "function"}:
            yield code.label, replace(step, checked=step.runs)
        if code.checks is None and step.runs == self._actor and bodies.becomes(code.text):
            # nobody needs a right for what a trigger calls
            fix = f"revoke execute on routine {code.name} from public, anon, authenticated cascade"
            cut = step.cut or _Cut(code.label, (fix,) if "execute" in step.object.verbs(_BOOTSTRAP) else ())
            yield (
                f"{code.label}, which sets who is calling",
                replace(step, runs=_BOOTSTRAP, checked=_BOOTSTRAP, cut=cut),
            )

    def _mentioned(self, code: Code, way: _Step) -> Iterator[_Step]:
        """The relations that code names."""
        is_quiet = _is_quiet(code, way.object)
        for mention in bodies.mentions(code.text, self._model.functions):
            for target in self._named(code, way, mention):
                verbs = target.verbs(way.checked) & (way.verbs if code.is_query else mention.verbs)
                # a condition limits what is seen through a view, not what is written to it
                guarded = (
                    verbs - ({"insert", "update"} if code.is_query else set()) if mention.asks else frozenset[str]()
                )
                certainties: dict[Certainty, frozenset[str]] = {"certain": verbs - guarded, "guarded": guarded}
                for certainty, some in certainties.items():
                    if some:
                        yield way.to(target, some, "mute" if is_quiet and not some & WRITES else certainty)

    def _named(self, code: Code, way: _Step, mention: bodies.Mention) -> Sequence[Object]:
        """The relations that a name can mean."""
        found = [each for each in self._model.named("table", mention.schema, mention.name) if each is not way.object]
        if code.is_resolved:  # what has no schema is a common table expression
            return found if mention.schema else []
        found = [each for each in found if "find" in each.verbs(way.runs)]
        path = way.object.search_path
        if mention.schema or path is None:
            return found
        return [each for schema in path for each in found if each.schema == schema][:1]

    def _called(self, code: Code, way: _Step) -> Iterator[_Step]:
        """The functions that code calls."""
        for schema, name, asks in bodies.calls(code.text):
            for function in self._model.named("function", schema, name):
                verbs = function.verbs(way.runs)
                may = "execute" in verbs and (code.is_resolved or "find" in verbs)
                # what a trigger or an aggregate calls needs no right
                if function is not way.object and (may or code.kind in {"trigger", "aggregate"}):
                    inner = "".join(each.text for each in self._model.codes[function.oid])
                    is_quiet = _is_quiet(code, way.object) and not bodies.carries_rows(inner)
                    yield way.to(function, frozenset(), "mute" if is_quiet else "guarded" if asks else "certain")

    def _undecided(self, code: Code, way: _Step) -> Iterator[tuple[str, _Step]]:
        """What code does that its text does not say."""
        does, checked = "", way.runs
        if not read(code.text).readable:
            does, checked = "whose text cannot be read", way.checked  # it may name the tables itself
        elif bodies.is_dynamic(code.text):
            does = "which runs or reads what it does not name"
        if does and checked != self._actor:
            step = replace(way, checked=checked)
            yield from ((does, step.to(table, VERBS, "undecided")) for table in self._tables)


def _is_quiet(code: Code, used: Object) -> bool:
    """Whether no row leaves it."""
    if code.is_query:
        return bodies.counts_only(code.text)
    return bool(used.is_scalar) and not bodies.carries_rows(code.text)
