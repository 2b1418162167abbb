"""Declares the testbox before any test of this folder runs."""

from __future__ import annotations

import tests.core.box  # noqa: F401 - declares facts
