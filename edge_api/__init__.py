"""The HTTP API in front of the accounts functions of a Supabase project."""

__version__ = "0.1.0"
WHEEL = f"./edge_api-{__version__}-py3-none-any.whl"  # as a release has it: the package is on no index
