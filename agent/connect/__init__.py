"""Transports to targets: one module, and one third-party library, each."""
