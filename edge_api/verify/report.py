"""Findings as text for people, as JSON for programs, and as SARIF for code scanning."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from edge_api import __version__
from edge_api.verify.findings import LEVELS, Finding, printable, runnable
from edge_api.verify.migrations import Migration

# https://docs.oasis-open.org/sarif/sarif/v2.1.0/
_SARIF_VERSION: Final = "2.1.0"
_SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_RULES: Final = {
    "drift": "An object is not what the migrations create.",
    "reach": "There is a path to rows of a protected table past its policies.",
    "surroundings": "What the migrations rest on is not as Supabase creates it.",
}


def count(findings: Sequence[Finding]) -> str:
    """How many there are of each level, in words."""
    parts = []
    for level in LEVELS:
        number = sum(finding.level == level for finding in findings)
        if number:
            parts.append(f"{number} {level}{'s' if number > 1 and level != 'info' else ''}")
    return ", ".join(parts) or "no finding"


def text(findings: Sequence[Finding], _migrations: Sequence[Migration]) -> str:
    """A line for each finding; below it, indented, what a person has to decide and each statement of the fix."""
    lines = []
    for finding in findings:
        lines.append(printable(f"{finding.level}: {finding.subject}: {finding.message}"))
        if finding.advice:
            lines.append(printable(f"    decide: {finding.advice}"))
        lines += [f"    fix: {printable(runnable(statement))};" for statement in finding.fix]
    return "\n".join(lines)


def as_json(findings: Sequence[Finding], _migrations: Sequence[Migration]) -> str:
    """One object: `version` of the package, and `findings`."""
    return json.dumps({"version": __version__, "findings": [asdict(finding) for finding in findings]}, indent=2)


def _places(finding: Finding, migrations: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Where the migrations create an object, or what it is part of: code scanning shows no result without a file."""
    for name in re.findall(r'"[^"]+"|[\w.]+', finding.subject.partition(" ")[2]):
        yield from ((migration, 1) for migration in migrations if migration.name == name)
        for candidate in (name, name.rpartition(".")[0]):  # of a column, the table
            created = re.compile(rf"\s*create\b.*(?<![\w.]){re.escape(candidate or name)}(?![\w.])")
            for migration in migrations:
                lines = enumerate(migration.sql.splitlines(), start=1)
                yield from ((migration, number) for number, line in lines if name != "on" and created.match(line))
    yield migrations[-1], 1


def _location(finding: Finding, migrations: Sequence[Migration]) -> dict[str, Any]:
    migration, line = next(_places(finding, migrations))
    return {
        "artifactLocation": {"uri": f"supabase/migrations/{migration.path.name}", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": line},
    }


def sarif(findings: Sequence[Finding], migrations: Sequence[Migration]) -> str:
    """A SARIF log with one run."""
    rules = [{"id": rule, "shortDescription": {"text": text}} for rule, text in _RULES.items()]
    results = [
        {
            "ruleId": finding.question,
            "ruleIndex": list(_RULES).index(finding.question),
            "level": "note" if finding.level == "info" else finding.level,
            "message": {
                "text": printable(
                    ". ".join(
                        [f"{finding.subject}: {finding.message}"]
                        + ([f"Decide: {finding.advice}"] if finding.advice else [])
                        + ([f"Fix: {'; '.join(finding.fix)}"] if finding.fix else [])
                    )
                )
            },
            "locations": [
                {
                    "physicalLocation": _location(finding, migrations),
                    "logicalLocations": [{"fullyQualifiedName": printable(finding.subject)}],
                }
            ],
            # the same finding tomorrow is the same result
            "partialFingerprints": {"edgeApiVerify/v2": f"{finding.question}:{finding.subject}:{finding.message}"},
        }
        for finding in findings
    ]
    driver = {"name": "edge-api verify", "version": __version__, "rules": rules}
    log = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SARIF_SCHEMA, "version": _SARIF_VERSION, "runs": [log]}, indent=2)


FORMATS: Final[dict[str, Callable[[Sequence[Finding], Sequence[Migration]], str]]] = {
    "text": text,
    "json": as_json,
    "sarif": sarif,
}
