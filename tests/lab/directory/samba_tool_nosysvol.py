#!/usr/bin/env python3
"""samba-tool without the SYSVOL permissions, where security.* xattrs cannot be written (some containers)."""

# mypy: ignore-errors
import sys

import samba.provision as p

p.setsysvolacl = lambda *a, **k: None
try:
    from samba.netcmd.main import samba_tool  # 4.19+

    sys.exit(samba_tool(*sys.argv[1:]))
except ImportError:
    from samba.netcmd.main import cmd_sambatool  # 4.17

    sys.exit(cmd_sambatool()._run("samba-tool", *sys.argv[1:]))
