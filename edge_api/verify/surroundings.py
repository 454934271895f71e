"""Is what the migrations rest on as Supabase creates it: roles, settings, owners, default privileges, `auth`?"""

from importlib.resources import files
from typing import Final

import psycopg

from edge_api.verify.findings import Finding

_QUERY: Final = files(__package__).joinpath("surroundings.sql").read_bytes()


def read(connection: psycopg.Connection) -> list[Finding]:
    """The findings, each of which is a row of the query. Inside a transaction whose search_path is empty."""
    return [
        Finding("surroundings", level, subject, message, advice, tuple(fix))
        for level, subject, message, advice, fix in connection.execute(_QUERY)
    ]
