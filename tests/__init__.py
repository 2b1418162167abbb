"""Tests; tests/lab makes the real targets that some of them scan."""
