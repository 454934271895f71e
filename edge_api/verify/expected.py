"""What the migrations create: expected.json, which `make types` reads from a database that has them."""

import json
from importlib.resources import files
from typing import NamedTuple

from edge_api.migrations import Migration, packaged
from edge_api.verify.drift import Object, Objects, Scope
from edge_api.verify.findings import Finding


class Expected(NamedTuple):
    """What a database that has the migrations has, whatever its version of PostgreSQL."""

    scope: Scope
    objects: Objects
    migrations: tuple[Migration, ...]


def expected() -> Expected:
    """Raises MigrationsError if the package has no migrations."""
    document = json.loads(files(__package__).joinpath("expected.json").read_text("utf-8"))
    for each in document["objects"]:
        findings = each["findings"].items()
        each["findings"] = {of: Finding(**{**finding, "fix": tuple(finding["fix"])}) for of, finding in findings}
    objects = {each["subject"]: Object(**each) for each in document["objects"]}
    return Expected(document["scope"], objects, packaged())
