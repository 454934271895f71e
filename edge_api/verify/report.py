"""Differences as text for people, as JSON for programs, and as SARIF for code scanning."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from edge_api import __version__
from edge_api.migrations import Migration
from edge_api.verify.compare import RULES, Finding, Level

# https://docs.oasis-open.org/sarif/sarif/v2.1.0/
_SARIF_VERSION: Final = "2.1.0"
_SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_SARIF_LEVELS: Final = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "note"}


def count(findings: Sequence[Finding]) -> str:
    """How many there are of each level, in words."""
    parts = []
    for level in Level:
        number = sum(finding.level is level for finding in findings)
        if number:
            parts.append(f"{number} {level.value}{'s' if number > 1 and level is not Level.INFO else ''}")
    return ", ".join(parts) or "no difference"


def _line(finding: Finding) -> str:
    return f"{finding.level.value}: {finding.object}: {finding.message}. Mend: {finding.mend}"


def text(findings: Sequence[Finding], _migrations: Sequence[Migration]) -> str:
    """A line for each difference; nothing if there is none."""
    # names come from the database: whoever made one must not paint the reader's terminal
    return "\n".join(re.sub(r"[^\S ]+|[\x00-\x1f\x7f-\x9f]", " ", _line(finding)) for finding in findings)


def as_json(findings: Sequence[Finding], _migrations: Sequence[Migration]) -> str:
    """One object: `version` of the package, `findings` with level, rule, object, message and mend each."""
    return json.dumps(
        {
            "version": __version__,
            "findings": [
                {
                    "level": finding.level.value,
                    "rule": finding.rule,
                    "object": finding.object,
                    "message": finding.message,
                    "mend": finding.mend,
                }
                for finding in findings
            ],
        },
        indent=2,
    )


def _place(finding: Finding, migrations: Sequence[Migration]) -> dict[str, Any]:
    """Where the migrations last made an object, or what it hangs off: code scanning shows no result without a file."""
    kind, _, named = finding.object.partition(" ")
    if kind == "migration":
        itself = [migration for migration in migrations if migration.name == named]
        return _location(itself[0] if itself else migrations[-1], 1)
    for name in re.findall(r'"[^"]+"|[\w.]+', named.partition(", ")[0]):
        made = re.compile(rf"\s*create\b.*(?<![\w.]){re.escape(name)}(?![\w.])")
        for migration in reversed(migrations if name != "on" else ()):
            for number, line in enumerate(migration.sql.splitlines(), start=1):
                if made.match(line):
                    return _location(migration, number)
        parent = name.rpartition(".")[0]
        if "." in parent:  # a column: its table
            return _place(replace(finding, object=f"table {parent}"), migrations)
    return _location(migrations[-1], 1)


def _location(migration: Migration, line: int) -> dict[str, Any]:
    return {
        "artifactLocation": {"uri": f"supabase/migrations/{migration.path.name}", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": line},
    }


def sarif(findings: Sequence[Finding], migrations: Sequence[Migration]) -> str:
    """A SARIF log with one run."""
    ids = list(RULES)
    return json.dumps(
        {
            "$schema": _SARIF_SCHEMA,
            "version": _SARIF_VERSION,
            "runs": [
                {
                    "tool": {
                        "driver": {
                            "name": "edge-api verify",
                            "version": __version__,
                            "rules": [
                                {"id": rule, "shortDescription": {"text": description}}
                                for rule, description in RULES.items()
                            ],
                        }
                    },
                    "columnKind": "unicodeCodePoints",
                    "results": [
                        {
                            "ruleId": finding.rule,
                            "ruleIndex": ids.index(finding.rule),
                            "level": _SARIF_LEVELS[finding.level],
                            "message": {"text": f"{finding.object}: {finding.message}. Mend: {finding.mend}"},
                            "locations": [
                                {
                                    "physicalLocation": _place(finding, migrations),
                                    "logicalLocations": [{"fullyQualifiedName": finding.object}],
                                }
                            ],
                            # the same difference tomorrow is the same result
                            "partialFingerprints": {"edgeApiVerify/v1": f"{finding.rule}:{finding.object}"},
                        }
                        for finding in findings
                    ],
                }
            ],
        },
        indent=2,
    )


FORMATS: Final[dict[str, Callable[[Sequence[Finding], Sequence[Migration]], str]]] = {
    "text": text,
    "json": as_json,
    "sarif": sarif,
}
