"""Alembic migrations of the store. `HEAD` is the newest; a store that names another one we lack is too new."""

HEAD = "0001"
