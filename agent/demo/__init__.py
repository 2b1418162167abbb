"""A stand-in trust on loopback, scanned by the same code as any other."""
