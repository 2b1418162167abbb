"""Measurements, printed as plain tables and, on the last line, as JSON. Nothing is asserted.

    make bench                  all of them, under four minutes
    make bench ARGS="start"     those named: start, judging, hosts, memory, directory

start    User and system time of `python -m agent --help`, ten children each, beside `python -c pass` in turns.
judging  Evidence of 30,000 made-up Linux hosts, judged by 120 controls as a scan does, findings and all; making the
         evidence is not timed. Readings repeat as in a fleet: one object per content (as the store hands them out), up
         to 300 different ones per fact, mixed from the examples of the shipped controls. Four fleets: 300 images rolled
         out, all read in one second; the same, each host read at a second of its own, so that rules that look at the
         time are judged anew; every fact varying on its own; and that spread over 90 schools.
         "Fastest tenth" and "median" are of pieces of 100 hosts: other work on the machine slows Python down, CPU time
         included, and the fastest pieces show it least. So does the yardstick: making one frozen dataclass of twelve
         fields, which an idle machine of this class does in 0.9 µs.
hosts    50 real hosts on this machine (tests/lab; needs root), 20 at once, in rounds A B C A B C …, at least three:
         A  the floor: the plain ssh client, curve25519, the very same script on stdin, its answer thrown away
         B  spiritlevel's collecting alone: connect, ask, parse, hold to the types
         C  a whole scan into a new, empty store: collect, judge, save
         Hosts and scanner share the cores, and a host's login and script cost more than everything here: ratios within
         a round mean something, hosts a second only on one machine. SPIRITLEVEL_BENCH_HOSTS=200 takes hosts without
         systemd.
windows  10 stand-in Windows machines behind real sshds, where there is a lab (tests/lab/windows.py): our CPU each
         for a whole scan, after one round that warms up; and the CPU of the script on the PowerShell engine beyond
         what the engine costs itself, where every cmdlet and class is missing, so that no stand-in is measured.
switches 40 stand-in switches of four kinds in a process of their own, over SSH, each answer after 0.3 s and ProVision's
         login after 4.6 s: each kind alone, then three whole scans of all at once (connect, collect, judge, save).
others   the same hosts (20, or SPIRITLEVEL_BENCH_HOSTS) by a whole scan, and by pyinfra with 20 facts, Ansible's setup,
         and Ansible's check mode with 21 tasks, each once: make bench ARGS=others
memory   2,000 targets in one scan: the answers of one real host, replayed under 2,000 names in 20 schools through the
         collector's parser, judged and saved. Time and peak memory on the way. By itself (the process's own peak):
         make bench ARGS=memory
psrp     500 Windows hosts over PowerShell remoting, HTTPS and NTLM: stand-ins that speak the real protocol in a process
         of their own and answer what was recorded. The scanner's own CPU per host in a whole scan into a new store, its
         memory on the way; collecting alone; and one task of ansible-playbook over its psrp connection on 20 of them.
tenant   A Microsoft 365 tenant over the stand-in for Graph, every exchange delayed by 50 ms: a small one, and one of
         20,000 users and 6,000 devices. Exchanges, bytes, time beside the longest chain of exchanges, CPU, memory.
directory
         50,000 users and 10,000 computers in 40 schools, then twice that, on a real slapd of this machine that looks
         like Active Directory (tests/lab/slapd.py; needs root), over LDAPS, 1,000 entries a page. Three rounds of:
         ldapsearch over people and computers with 16 attributes; our reader over the same; ldapsearch for the searches
         of a scan; collecting these as facts; a whole scan into a new store (collect, judge by every directory control,
         save). Each of ours in a process of its own, so that its peak of memory is its own; starting it is not timed.
         ldapsearch is a process a search, its answer thrown away. Client and server share the cores: ratios within a
         round count. SPIRITLEVEL_BENCH_SIZES=1 leaves the second size out.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.bench import directory, hosts, judging, memory, others, psrp, start, switches, tenant, windows

ALL: dict[str, Callable[[], dict[str, Any]]] = {
    "start": start.run,
    "judging": judging.run,
    "hosts": hosts.run,
    "memory": memory.run,
    "psrp": psrp.run,
    "windows": windows.run,
    "switches": switches.run,
    "others": others.run,
    "tenant": tenant.run,
    "directory": directory.run,
}


def main(names: list[str]) -> int:
    """Run what is named, or everything."""
    if unknown := [n for n in names if n not in ALL]:
        print(f"no such measurement: {', '.join(unknown)}; there are {', '.join(ALL)}.", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} before we began"
        + (" (busy: numbers are too low)" if load > 0.5 else "")
    )
    out: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count(), "load": round(load, 2)}
    for name in names or ALL:
        print(f"\n== {name}")
        began = time.monotonic()
        out[name] = ALL[name]()
        out[name]["took_seconds"] = round(time.monotonic() - began, 1)
    print("\n" + json.dumps(out))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
