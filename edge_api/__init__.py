"""The HTTP wrapper around the accounts functions of a Supabase project."""

from importlib.metadata import version

__version__ = version("edge-api")
