"""Is a project's database still what the migrations create, and who reaches its rows? Changes nothing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

    from edge_api.verify.expected import Expected
    from edge_api.verify.findings import Finding


def verify(connection: "psycopg.Connection", expected: "Expected") -> "list[Finding]":
    """What is to be said of a database. Reads its catalogs in a transaction, or within the one that is open."""
    import re  # noqa: PLC0415

    from edge_api.verify import command  # noqa: PLC0415
    from edge_api.verify.findings import Finding  # noqa: PLC0415

    with connection.transaction():
        before = connection.execute("select current_setting('search_path')").fetchone()
        findings = command.differences(connection, expected)
        connection.execute("select set_config('search_path', %s, true)", before)
    is_sql = re.compile(r"(alter|comment|create|drop|grant|revoke) .*;", re.IGNORECASE | re.DOTALL)
    return [
        Finding(
            "drift",
            f.level.value,
            f.object,
            f.message,
            "" if is_sql.fullmatch(f.mend) else f.mend,
            (f.mend,) if is_sql.fullmatch(f.mend) else (),
        )
        for f in findings
    ]
