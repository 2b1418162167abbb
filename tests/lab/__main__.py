"""Labs by hand: `python -m tests.lab hosts 4 h002=ssh-root,noisy` or `python -m tests.lab directory`; Ctrl-C stops."""

from __future__ import annotations

import signal
import sys
import time

from tests.lab.hosts import HostLab, LabError
from tests.lab.samba import SambaLab


def main(words: list[str]) -> int:
    """Start what the words ask for, say how to reach it, and wait to be stopped."""
    lab: HostLab | SambaLab
    try:
        if words[:1] == ["hosts"] and len(words) > 1 and words[1].isdigit():
            drift = {host: items.split(",") for host, _, items in (word.partition("=") for word in words[2:])}
            lab = HostLab().start(int(words[1]), drift)
            print(f"inventory {lab.inventory}\nssh -F {lab.ssh_config} h001")
        elif words == ["directory"]:
            lab = SambaLab().start()
            print(f"{lab.ldaps_url}\nCA {lab.ca_file}\naccount {lab.scan_upn} {lab.scan_password}")
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    print("Ctrl-C stops it.", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        lab.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
