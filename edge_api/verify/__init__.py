"""Is a project's database still what the migrations create, and who reaches its rows? Reads, and changes nothing.

Three questions, each with a module of its own: `drift` compares with what the migrations create, `reach` follows the
paths to the rows of the protected tables, `surroundings` looks at what both rest on.
"""

import psycopg

from edge_api.verify import drift, history, model, reach, surroundings
from edge_api.verify.expected import Expected
from edge_api.verify.findings import LEVELS, Finding, fix_script

__all__ = ["Expected", "Finding", "fix_script", "verify"]


def verify(connection: psycopg.Connection, expected: Expected) -> list[Finding]:
    """All findings about a database, the gravest first. Reads its catalogs in one transaction, or in the open one."""
    with connection.transaction(), drift.scoped(connection, expected.scope):
        drifted = list(drift.compare(expected.objects, drift.read(connection)))
        around = surroundings.read(connection)
        tables = [item.name for item in expected.objects.values() if item.kind == "table"]
        own = [
            statement
            for finding in (*around, *drifted)
            if finding.subject.startswith("role ") or any(table in finding.subject for table in (*tables, "auth.users"))
            for statement in finding.fix
        ]
        reached = reach.findings(model.read(connection), tables, own)
        recorded = history.compare(connection, expected.migrations)
    return sorted((*reached, *around, *drifted, *recorded), key=lambda finding: LEVELS.index(finding.level))
