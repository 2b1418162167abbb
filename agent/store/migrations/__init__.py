"""Alembic migrations of the store. `HEAD` is the newest; a store that names another one we lack is too new."""

KNOWN = ("0001",)
HEAD = KNOWN[-1]
