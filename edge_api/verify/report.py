"""Findings as text for people, as JSON for programs, and as SARIF for code scanning."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from edge_api import __version__
from edge_api.verify.findings import LEVELS, Finding, printable, runnable
from edge_api.verify.migrations import Migration

# https://docs.oasis-open.org/sarif/sarif/v2.1.0/
_SARIF: Final = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0"}
_RULES: Final = {
    "drift": "An object is not what the migrations create.",
    "reach": "There is a path to rows of a protected table past its policies.",
    "surroundings": "What the migrations rest on is not as Supabase creates it.",
}


def count(findings: Sequence[Finding]) -> str:
    """How many there are of each level, in words."""
    numbers = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    parts = (f"{number} {level}{'s' * (number > 1 and level != 'info')}" for level, number in numbers.items() if number)
    return ", ".join(parts) or "no finding"


def _lines(finding: Finding) -> list[str]:
    """What it says; what a person has to decide; each statement of the fix."""
    decide = [f"decide: {finding.advice}"] if finding.advice else []
    fixes = [f"fix: {runnable(statement)};" for statement in finding.fix]
    return [printable(line) for line in (f"{finding.subject}: {finding.message}", *decide, *fixes)]


def text(findings: Sequence[Finding], _migrations: Sequence[Migration]) -> str:
    """A line for each finding, and below it, indented, what there is to do."""
    return "\n".join(f"{finding.level}: " + "\n    ".join(_lines(finding)) for finding in findings)


def as_json(findings: Sequence[Finding], _migrations: Sequence[Migration]) -> str:
    """One object: `version` of the package, and `findings`."""
    return json.dumps({"version": __version__, "findings": [asdict(finding) for finding in findings]}, indent=2)


def _location(subject: str, migrations: Sequence[Migration]) -> dict[str, Any]:
    """The line that creates the object, else the first of all: code scanning shows no result without a file."""
    created = f"create {subject.partition('(')[0].partition(' on ')[0]}"
    lines = ((migration, *line) for migration in migrations for line in enumerate(migration.sql.splitlines(), start=1))
    found = ((migration, number) for migration, number, line in lines if line.startswith(created))
    migration, line = next(found, (migrations[0], 1))
    artifact = {"uri": f"supabase/migrations/{migration.path.name}", "uriBaseId": "%SRCROOT%"}
    return {"artifactLocation": artifact, "region": {"startLine": line}}


def sarif(findings: Sequence[Finding], migrations: Sequence[Migration]) -> str:
    """A SARIF log with one run."""
    rules = [{"id": rule, "shortDescription": {"text": text}} for rule, text in _RULES.items()]
    results = [
        {
            "ruleId": finding.question,
            "ruleIndex": list(_RULES).index(finding.question),
            "level": "note" if finding.level == "info" else finding.level,
            "message": {"text": "\n".join(_lines(finding))},
            "locations": [{"physicalLocation": _location(finding.subject, migrations)}],
            # the same finding tomorrow is the same result
            "partialFingerprints": {"edgeApiVerify/v2": f"{finding.question}:{finding.subject}:{finding.message}"},
        }
        for finding in findings
    ]
    tool = {"driver": {"name": "edge-api verify", "version": __version__, "rules": rules}}
    return json.dumps({**_SARIF, "runs": [{"tool": tool, "results": results}]}, indent=2)


FORMATS: Final = {"text": text, "json": as_json, "sarif": sarif}
