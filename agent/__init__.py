"""spiritlevel: every school of a trust against one baseline. See docs/ and `spiritlevel --help`."""

__version__ = "0.1.0"
