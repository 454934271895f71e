"""The HTTP API in front of the accounts functions of a Supabase project."""

__version__ = "0.1.0"
