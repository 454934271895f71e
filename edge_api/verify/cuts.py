"""Where a path to rows of others can be closed, by which statements, and what that leaves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edge_api.verify.model import Document, Model

OPEN_ROLES: Final = ("anon", "authenticated")


@dataclass(frozen=True)
class Cut:
    """Where a path can be closed, and by which statements."""

    kind: Literal[
        "table",
        "role",
        "view",
        "copy",
        "rule",
        "function",
        "membership",
        "parent",
        "child",
        "key",
        "session",
        "leak",
        "unknown",
    ]
    subject: str
    target: int
    fix: tuple[str, ...] = ()


class Cuts:
    """The cuts of a model, in which what is closed is closed as in a database."""

    def __init__(self, model: Model, tables: Sequence[str], closing: tuple[str, ...]) -> None:
        self._model = model
        self._tables = tables
        self._closing = closing

    def actors(self) -> Iterator[tuple[str, int]]:
        """The API's roles and their members, but for those that become service_role anyway, as the API itself does."""
        for oid, role in self._model.roles.items():
            becomes = {self._model.roles[each]["name"] for each in self._model.becomes(oid)}
            if role["name"] in OPEN_ROLES or (
                becomes & {*OPEN_ROLES} and "service_role" not in becomes and not role["superuser"]
            ):
                yield role["name"], oid

    def membership(self, membership: Document) -> Cut:
        """Of a membership, and of what was granted by it."""
        group, member, grantor = (
            self._model.roles[membership[key]]["quoted"] for key in ("roleid", "member", "grantor")
        )
        by = f" granted by {grantor}" if "set_option" in membership else ""
        fix = f"revoke {group} from {member}{by} cascade"
        return Cut("membership", f"role {member}", membership["id"], (fix,))

    def revocation(self, relation: Document, role: int) -> Cut:
        """Of all rights that the API's roles and their members have on a relation."""
        model, name = self._model, relation["name"]
        subject = f"{'materialized view' if relation['kind'] == 'm' else 'table'} {name}"
        open_to = {held for _, actor in self.actors() for held in model.holds(actor)} - {relation["owner"]}
        rights = [each for key in ("rights", "column_rights") for each in relation[key] or []]
        granted = sorted(open_to & {each[0] for each in rights})
        if not granted:
            for other, memberships in model.becomes(role).items():
                if memberships and model.roles[other]["name"] in {"pg_read_all_data", "pg_write_all_data"}:
                    return self.membership(memberships[0])
            return Cut("copy", subject, relation["oid"])
        # the owner's "revoke" leaves what others have granted, but not without their right to
        others = {each[2] for each in rights if each[0] in granted} - {relation["owner"]}
        fix = [f"revoke grant option for all on table {name} from {self._quoted(other)} cascade" for other in others]
        grantees = ", ".join(self._quoted(each) for each in granted)
        return Cut("copy", subject, relation["oid"], (*fix, f"revoke all on table {name} from {grantees} cascade"))

    def _quoted(self, role: int) -> str:
        return str(self._model.roles[role]["quoted"]) if role else "public"

    def table(self, relation: Document, actor: int | None, checked: int) -> Cut:
        """Of what lets a role past the policies of a table itself."""
        name, oid, by = relation["name"], relation["oid"], self._model.roles[checked]
        if checked == actor and by["bypasses"] and relation["row_security"] and by["name"] not in OPEN_ROLES:
            return Cut("role", f"role {by['quoted']}", actor, (f"alter role {by['quoted']} nobypassrls",))
        if name == "auth.users":
            return self.revocation(relation, checked)
        if name in self._tables:
            return Cut("table", f"table {name}", oid, self._closing)
        if relation["above"]:
            statement = (
                "alter table {0} detach partition {1}" if relation["kind"] == "p" else "alter table {1} no inherit {0}"
            )
            children = (r["name"] for r in self._model.relations.values() if r["above"] and oid in (r["parents"] or []))
            return Cut("parent", f"table {name}", oid, tuple(statement.format(name, child) for child in children))
        return self.child(relation)

    def child(self, relation: Document) -> Cut:
        """Of what a table that is not protected itself shows."""
        fix = f"alter table {relation['name']} enable row level security"
        if relation["row_security"]:
            fix = f"revoke all on table {relation['name']} from public, anon, authenticated cascade"
        return Cut("child", f"table {relation['name']}", relation["oid"], (fix,))

    def session(self, function: Document, setting: str) -> Cut:
        """Of a function that changes who is calling: a trigger's runs without a right to execute it."""
        name = function["name"]
        fix = [f"alter table {table} disable trigger {trigger}" for table, trigger in function["triggers"] or []]
        if setting in (function["settings"] or {}):
            fix = [f"alter routine {name} reset {setting}"]
        elif not function["returns"].endswith("trigger"):
            fix = [f"revoke execute on routine {name} from public, anon, authenticated cascade"]
        return Cut("session", f"function {name}", function["oid"], tuple(fix))

    def close(self, cut: Cut) -> None:
        """Change the model as the fix of a cut changes the database."""
        model = self._model
        changes: dict[str, tuple[dict[int, Document], Document]] = {
            "role": (model.roles, {"bypasses": False}),
            "parent": (model.relations, {"protected": False}),
            "child": (model.relations, {"row_security": True, "forced": True, "policies": []}),
            "view": (model.relations, {"invoker": True}),
            "copy": (model.relations, {"rights": [], "column_rights": []}),
            "key": (model.relations, {"keys": []}),
            "session": (model.functions, {"text": "", "settings": None}),
            "leak": (model.functions, {"leakproof": False}),
            "function": (model.functions, {"definer": False}),
        }
        if cut.kind in changes:
            documents, change = changes[cut.kind]
            documents[cut.target] |= change
        elif cut.kind == "table":
            relation = model.relations[cut.target]
            relation |= {"row_security": True, "forced": True, "policies": [], "owner": -1}
            open_roles = {0, *(oid for oid, role in model.roles.items() if role["name"] in OPEN_ROLES)}
            for oid in open_roles - {0}:
                model.roles[oid] |= {"superuser": False, "bypasses": False}
            relation["rights"] = [right for right in relation["rights"] if right[0] not in open_roles]
        elif cut.kind == "rule":
            relation = model.relations[cut.target]
            relation["rules"] = [rule for rule in relation["rules"] if f"rule {rule[0]} on" not in cut.subject]
        elif cut.kind == "membership":
            model.memberships = [m for m in model.memberships if m["id"] != cut.target]
            model.changed()
