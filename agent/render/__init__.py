"""Pure functions of findings: HTML, tables, exchange formats. Nothing here reads a target or the store."""
