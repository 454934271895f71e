"""For operators of a project that has the migrations: which of them it has, and whether its database still is safe.

Nothing that serves imports this package.
"""
