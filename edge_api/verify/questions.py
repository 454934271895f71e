"""Is a project's database still what the migrations create, and who reaches its rows? Reads, and changes nothing.

Three questions, each with a module of its own: `drift` compares with what the migrations create, `reach` follows the
paths to the rows of the protected tables, `surroundings` looks at what both rest on.
"""

import psycopg

from edge_api.verify import drift, model, reach, surroundings
from edge_api.verify.drift import Expected
from edge_api.verify.findings import LEVELS, Finding


def verify(connection: psycopg.Connection, expected: Expected) -> list[Finding]:
    """All findings about a database, the gravest first. Reads its catalogs in one transaction, or in the open one."""
    tables = expected.scope["relations"]
    with connection.transaction(), drift.scoped(connection, expected.scope):
        drifted = list(drift.compare(expected.objects, drift.read(connection)))
        around = surroundings.read(connection)
        own = [
            statement
            for finding in (*around, *drifted)
            if finding.subject.startswith("role ") or any(table in finding.subject for table in (*tables, "auth.users"))
            for statement in finding.fix
        ]
        reached = reach.findings(model.read(connection), tables, own)
        drifted += drift.unrecorded(drift.recorded(connection), expected.migrations)
    return sorted((*reached, *around, *drifted), key=lambda finding: LEVELS.index(finding.level))
