"""Measurements: `make bench`. Nothing here asserts a time; see __main__.py for the method."""
