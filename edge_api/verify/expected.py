"""What the migrations create: expected.json, which `make types` reads from a database that has them."""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from edge_api.verify.drift import Object, Objects, Scope
from edge_api.verify.migrations import Migration, packaged

_DOCUMENT: Final = files(__package__).joinpath("expected.json")


@dataclass(frozen=True)
class Expected:
    """What the migrations create."""

    scope: Scope
    objects: Objects
    migrations: tuple[Migration, ...]


def expected() -> Expected:
    """What a database that has the migrations has, whatever its version of PostgreSQL.

    Raises:
        MigrationsError: the package has no migrations.
    """
    document = json.loads(_DOCUMENT.read_text("utf-8"))
    objects = (Object(**{**each, "rights": [tuple(right) for right in each["rights"]]}) for each in document["objects"])
    return Expected(document["scope"], {each.subject: each for each in objects}, packaged())
