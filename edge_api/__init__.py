"""The HTTP wrapper around the accounts functions of a Supabase project."""

__version__ = "0.1.0"
