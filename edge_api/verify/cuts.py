"""Where a path to rows of others can be closed, by which statements, and what that leaves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_api.verify.model import PUBLIC, Document, Model

OPEN_ROLES: Final = ("anon", "authenticated")
_CLOSED: Final = {"row_security": True, "forced": True, "policies": []}

Changes = tuple[tuple[Document, Document], ...]
"""Documents of the model, and what a fix changes in them."""


@dataclass(frozen=True)
class Cut:
    """Where a path can be closed, and by which statements."""

    subject: str
    fix: tuple[str, ...] = ()
    changes: Changes = field(default=(), compare=False)

    def close(self) -> None:
        """Change the model as the fix changes the database."""
        for document, change in self.changes:
            document.update(change)


class Cuts:
    """The cuts of a model."""

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
        return Cut(f"role {member}", (fix,), ((membership, {"inherits": False, "sets": False}),))

    def revocation(self, relation: Document, role: int) -> Cut:
        """Of all rights that the API's roles and their members have on a relation."""
        model, name = self._model, relation["name"]
        subject = f"{'materialized view' if relation['kind'] == 'm' else 'table'} {name}"
        open_to = {held for _, actor in self.actors() for held in model.holds(actor)} - {relation["owner"]}
        rights = relation["rights"] or []
        changes: Changes = ((relation, {"rights": []}),)
        granted = sorted(open_to & {each[0] for each in rights})
        if not granted:
            for other, memberships in model.becomes(role).items():
                if memberships and model.roles[other]["name"] in {"pg_read_all_data", "pg_write_all_data"}:
                    return self.membership(memberships[0])
            return Cut(subject, (), changes)
        # the owner's "revoke" leaves what others have granted, but not without their right to
        others = {each[2] for each in rights if each[0] in granted} - {relation["owner"]}
        fix = [f"revoke grant option for all on table {name} from {self._quoted(other)} cascade" for other in others]
        grantees = ", ".join(self._quoted(each) for each in granted)
        return Cut(subject, (*fix, f"revoke all on table {name} from {grantees} cascade"), changes)

    def _quoted(self, role: int) -> str:
        return str(self._model.roles[role]["quoted"]) if role else "public"

    def table(self, relation: Document, actor: int | None, checked: int) -> Cut:
        """Of what lets a role past the policies of a table itself."""
        name, oid, by = relation["name"], relation["oid"], self._model.roles[checked]
        if checked == actor and by["bypasses"] and relation["row_security"] and by["name"] not in OPEN_ROLES:
            return Cut(
                f"role {by['quoted']}", (f"alter role {by['quoted']} nobypassrls",), ((by, {"bypasses": False}),)
            )
        if name == "auth.users":
            return self.revocation(relation, checked)
        if name in self._tables:
            return Cut(f"table {name}", self._closing, self._restored(relation))
        if relation["above"]:
            statement = (
                "alter table {0} detach partition {1}" if relation["kind"] == "p" else "alter table {1} no inherit {0}"
            )
            children = (r["name"] for r in self._model.relations.values() if r["above"] and oid in (r["parents"] or []))
            fix = tuple(statement.format(name, child) for child in children)
            return Cut(f"table {name}", fix, ((relation, {"protected": False}),))
        return self.child(relation)

    def child(self, relation: Document) -> Cut:
        """Of what a table that is not protected itself shows."""
        fix = f"alter table {relation['name']} enable row level security"
        if relation["row_security"]:
            fix = f"revoke all on table {relation['name']} from public, anon, authenticated cascade"
        return Cut(f"table {relation['name']}", (fix,), ((relation, _CLOSED),))

    def _restored(self, relation: Document) -> Changes:
        """What the migrations and Supabase make of a protected table, and of the API's roles."""
        roles = [role for role in self._model.roles.values() if role["name"] in OPEN_ROLES]
        closed = {PUBLIC, *(role["oid"] for role in roles)}
        rights = [right for right in relation["rights"] or [] if right[0] not in closed or right[3]]
        return (
            (relation, {**_CLOSED, "owner": -1, "rights": rights}),
            *((role, {"superuser": False, "bypasses": False}) for role in roles),
        )

    def session(self, function: Document, setting: str) -> Cut:
        """Of a function that changes who is calling: a trigger's runs without a right to execute it."""
        name = function["name"]
        fix = [
            f"alter table {relation['name']} disable trigger {trigger}"
            for relation in self._model.relations.values()
            for trigger, called in relation["triggers"] or []
            if called == function["oid"]
        ]
        if setting in (function["settings"] or {}):
            fix = [f"alter routine {name} reset {setting}"]
        elif not function["returns"].endswith("trigger"):
            fix = [f"revoke execute on routine {name} from public, anon, authenticated cascade"]
        return Cut(f"function {name}", tuple(fix), ((function, {"text": "", "settings": None}),))
