"""A throw-away PostgreSQL cluster on a socket of its own: no port, no password, gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """Where PostgreSQL's server programs are, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    beside = shutil.which("initdb")
    return Path(beside).resolve().parent if beside else None


@contextmanager
def cluster() -> Iterator[str]:
    """Start a cluster; gives the folder of its socket, whose user and database are `postgres`."""
    where = programs()
    assert where is not None
    top = Path(tempfile.mkdtemp(prefix="spiritlevel-pg-"))
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(top, "postgres")
    data = top / "data"
    # An encoding and an order of letters that are not C: what is compared in the database must bear it.
    settings = f"-c listen_addresses='' -c unix_socket_directories={top} -c fsync=off -c max_connections=20"
    try:
        subprocess.run(
            [*user, where / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"],
            check=True,
            capture_output=True,
            cwd=top,
        )
        subprocess.run(
            [*user, where / "pg_ctl", "-D", data, "-w", "-l", top / "log", "-o", settings, "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=top,
        )
        try:
            yield str(top)
        finally:
            subprocess.run(
                [*user, where / "pg_ctl", "-D", data, "-m", "immediate", "stop"],
                check=False,
                capture_output=True,
                cwd=top,
            )
    finally:
        shutil.rmtree(top, ignore_errors=True)
