"""Inventories as people have them: groups, vault, scripts, odd names, other connections; secrets stay in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.collect import at, credential_key, open_target
from agent.connect import ansible, become, secrets
from agent.connect.ansible_patterns import select
from agent.connect.inventory_values import fill
from agent.errors import ConfigError, CredentialRefused, SecretError, Unreachable, UsageError
from agent.facts import linux
from agent.facts.linux.answer import COMMAND
from agent.facts.protocol import Limits, Output
from agent.model import Kind, Target, TargetState
from agent.resources import tool
from agent.trust import load
from tests.connect.sshd import ME, keygen, public, sshd

SECRET = "zq-Hunter2'secret"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trust's folder with a vault password."""
    (tmp_path / "inventories").mkdir()
    (tmp_path.parent / f"{tmp_path.name}.vault").write_text("opensesame\n", encoding="utf-8")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(tmp_path.parent / f"{tmp_path.name}.vault"))
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def vaulted(text: str, name: str) -> str:
    return subprocess.run(
        [tool("ansible-vault"), "encrypt_string", "--stdin-name", name],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def hosts(folder: Path, *paths: Path) -> dict[str, ansible.Host]:
    return {h.name: h for h in ansible.inventory(paths, folder)}


# ---------------------------------------------------------------- forms
def test_groups_templates_and_several_files(folder: Path) -> None:
    one = write(
        folder / "inventories/one.ini",
        "[web]\nw[1:2].example\n[db]\ndb1 ansible_port=2022\n[servers:children]\nweb\ndb\n"
        "[db:vars]\nansible_user=dba\n",
    )
    two = write(folder / "inventories/two.yml", 'all: {hosts: {"odd name": {}, "a:b": {ansible_host: 10.0.0.3}}}\n')
    write(
        folder / "inventories/group_vars/web.yml",
        'ansible_host: "{{ inventory_hostname_short }}.{{ dom }}"\ndom: lan\n',
    )
    write(folder / "inventories/host_vars/w2.example.yml", "ansible_user: own\nansible_connection: docker\n")
    found = hosts(folder, one, two)
    assert set(found) == {"w1.example", "w2.example", "db1", "odd name", "a:b"}
    assert found["w1.example"].variables == {"ansible_host": "w1.lan"}
    assert found["w2.example"].variables["ansible_user"] == "own"
    assert not ansible.own_connection(found["w2.example"].variables)
    assert found["db1"].variables == {"ansible_port": 2022, "ansible_user": "dba"}
    assert found["db1"].groups == ("db", "servers")
    assert "dom" not in found["w1.example"].variables


def test_a_script_that_prints_an_inventory(folder: Path) -> None:
    script = write(
        folder / "inventories/dynamic.py",
        f"#!{sys.executable}\nimport json, os\n"
        "print(json.dumps({'labs': {'hosts': ['pc1'], 'vars': {'ansible_user': 'x'}}, '_meta': {'hostvars':"
        " {'pc1': {'ansible_host': '10.1.1.1', 'ansible_password': os.environ['FROM_CMDB']}}}}))\n",
    )
    script.chmod(0o755)
    os.environ["FROM_CMDB"] = SECRET
    try:
        host = hosts(folder, script)["pc1"]
    finally:
        del os.environ["FROM_CMDB"]
    assert host.groups == ("labs",)
    assert SECRET not in str(host)
    assert secrets.resolve(host.variables["ansible_password"], folder) == SECRET


# ---------------------------------------------------------------- secrets
def test_vaulted_values_are_references_to_memory(folder: Path) -> None:
    path = write(folder / "inventories/i.yml", "all: {hosts: {h1: {}, h2: {}, h3: {}}}\n")
    write(folder / "inventories/host_vars/h1.yml", vaulted(SECRET, "ansible_password") + vaulted("eve", "ansible_user"))
    write(folder / "inventories/host_vars/h2/vars.yml", 'ansible_become_password: "{{ vault_pw }}"\n')
    whole = write(folder / "inventories/host_vars/h2/vault.yml", f'vault_pw: "{SECRET}"\n')
    subprocess.run([tool("ansible-vault"), "encrypt", str(whole)], check=True, capture_output=True, timeout=60)
    write(
        folder / "inventories/host_vars/h3.yml",
        "ansible_password: \"{{ lookup('env', 'PW') }}\"\nansible_become_pass: \"{{ lookup('pipe', 'id') }}\"\n",
    )
    found = hosts(folder, path)
    assert SECRET not in str(found)
    references = [found["h1"].variables["ansible_password"], found["h2"].variables["ansible_become_password"]]
    assert [secrets.resolve(r, folder) for r in references] == [SECRET, SECRET]
    assert all(r.startswith("memory:") for r in references)
    assert found["h1"].variables["ansible_user"] == "eve"
    assert found["h3"].variables["ansible_password"] == "env:PW"
    keys = {credential_key(Target(h.name, Kind.DEVICE, "linux", "s", h.variables)) for h in found.values()}
    assert len(keys) == 3
    assert SECRET not in str(keys)


def test_a_vault_that_does_not_open_says_so_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(folder / "inventories/i.yml", "all: {hosts: {h1: {}}}\n")
    write(folder / "inventories/host_vars/h1.yml", vaulted(SECRET, "ansible_password"))
    write(folder / "wrong", "wrong\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(folder / "wrong"))
    reference = hosts(folder, path)["h1"].variables["ansible_password"]
    with pytest.raises(SecretError, match="cannot be opened") as caught:
        secrets.resolve(reference, folder)
    assert SECRET not in str(caught.value)
    with pytest.raises(SecretError, match="no longer known"):
        secrets.resolve("memory:" + "0" * 32, folder)


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("i.yml", f'all:\n  hosts:\n    h1: {{ansible_password: "{SECRET}"}}\n', "i.yml:3: ansible_password: "),
        ("i.ini", 'h1\n[all:vars]\nansible_ssh_pass="Plain1"\n', "i.ini:3: ansible_ssh_pass: "),
        ("i.yml", "all:\n  hosts: {h1: {}}\n  vars:\n    ansible_become_password: 12345\n", "i.yml:4: "),
        (
            "i.yml",
            "all:\n  hosts: {h1: {}}\n  vars:\n    ansible_become_password: '{{ pw }}'\n    pw: >-\n      Plain1\n",
            "i.yml:5: pw: ",
        ),
        ("i.yml", "all:\n  vars:\n    ansible_password: 'zq''x'\n  hosts: {h1: {}}\n", "i.yml:3: ansible_password: "),
    ],
)
def test_a_password_in_plain_text_is_an_error_that_names_its_place(
    folder: Path, name: str, text: str, place: str
) -> None:
    path = write(folder / "inventories" / name, text)
    with pytest.raises(ConfigError, match="written down in plain text") as caught:
        ansible.inventory([path], folder)
    assert str(caught.value).startswith(f"inventories/{place}")
    assert not any(word in str(caught.value) for word in (SECRET, "Plain1", "12345", "zq"))


def test_templates_that_are_more_than_a_name_are_refused_where_they_matter(folder: Path) -> None:
    known = {"a": "x{{ b }}", "b": 1, "loop": "{{ loop }}"}
    assert fill("{{ a }}-{{ b }}", known) == "x1-1"
    assert fill("{{ b }}", known) == 1
    assert fill("{{ a | upper }}", known) == "{{ a | upper }}"
    assert "{{" in fill("{{ loop }}", known)
    path = write(folder / "inventories/i.yml", "all: {hosts: {h1: {ansible_user: '{{ x | default(\"y\") }}'}}}\n")
    settings = hosts(folder, path)["h1"].variables
    target = Target("h1", Kind.DEVICE, "linux", "s", settings)
    with pytest.raises(Unreachable, match="ansible_user of h1 is a template"), opened(target, folder):
        pass


def opened(target: Target, folder: Path, seconds: float = 60) -> Any:
    return open_target(at(target, folder), lambda r: secrets.resolve(r, folder), Limits(seconds))


# ---------------------------------------------------------------- the whole line, and no secret anywhere
def test_no_secret_reaches_store_plan_report_or_screen(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keygen(folder / "key", "-N", SECRET)
    with sshd(folder / "sshd", public(folder / "key") + "\n") as server:
        write(folder / "known_hosts", server.known)
        write(
            folder / "inventories/a.yml",
            f"all:\n  vars: {{ansible_user: {ME}, ansible_ssh_private_key_file: key, ansible_port: {server.port}}}\n"
            "  hosts:\n    h1: {ansible_host: 127.0.0.1}\n    h2: {ansible_host: 127.0.0.1, ansible_port: 1}\n"
            "    here: {ansible_connection: local}\n    far: {ansible_connection: no.such.plugin}\n",
        )
        names = ("ansible_ssh_private_key_passphrase", "ansible_password", "ansible_become_password")
        write(folder / "inventories/group_vars/all.yml", "".join(vaulted(SECRET, n) for n in names))
        write(folder / "profiles/trust.yml", "id: trust\nextends: [core]\n")
        write(
            folder / "trust.yml",
            "name: T\nprofile: trust\nschools:\n  oak: {name: Oak, inventory: inventories/a.yml}\n",
        )
        load(folder)
        said = b""
        for words in (["plan"], ["scan"], ["list", "targets"], ["drift"], ["doctor"], ["remediate"],
                      ["report", "--format", "html"], ["report", "--format", "ndjson", "-o", "-"]):  # fmt: skip
            done = subprocess.run(
                [sys.executable, "-m", "agent", "-C", str(folder), *words],
                capture_output=True,
                timeout=240,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            said += done.stdout + done.stderr
            if words == ["scan"]:
                assert b"here" in done.stdout + done.stderr
                assert done.returncode == 3, done.stderr  # h2 and far are not read
    assert b"no.such.plugin" in said
    assert SECRET.encode() not in said
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert any(".spiritlevel" in p.parts for p in files)
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
        assert b"memory:" not in path.read_bytes(), path


# ---------------------------------------------------------------- other connections
def test_a_host_of_another_connection_is_read_through_ansible(folder: Path) -> None:
    wanted = ["os", "users", "timezone"]
    target = Target("odd name's [1]", Kind.DEVICE, "linux", "s", {"ansible_connection": "local"})
    with opened(target, folder) as shell:
        assert shell.run("cat; exit 3", b"\0\xff\n\n", Limits(60)) == Output(b"\0\xff\n\n", b"", 3)
        late = shell.run("echo first; sleep 60", b"", Limits(4))
        assert (late.rc, late.timed_out) == (None, True)
        cut = shell.run("head -c 3000000 /dev/zero", b"", Limits(30, 1 << 20))
        assert (len(cut.stdout), cut.truncated, cut.rc) == (1 << 20, True, None)
        found = linux.collect(shell, wanted, Limits(60))
    assert found.state is TargetState.COLLECTED
    assert "root" in {u["name"] for u in found.facts["users"].value}


@pytest.mark.parametrize("connection", ["no.such.plugin", "{{ x | y }}"])
def test_a_connection_that_is_not_there_is_unreachable_and_never_ssh(folder: Path, connection: str) -> None:
    target = Target("h", Kind.DEVICE, "linux", "s", {"ansible_connection": connection, "ansible_host": "127.0.0.1"})
    with pytest.raises(Unreachable) as caught, opened(target, folder) as shell:
        shell.run("true", b"", Limits(60))
    assert "SSH" not in str(caught.value)


@pytest.mark.parametrize(
    "word", ["ssh", "smart", "paramiko", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh", ""]
)
def test_these_connections_are_our_own(word: str) -> None:
    assert ansible.own_connection({"ansible_connection": word})


# ---------------------------------------------------------------- sudo with a password
FAKE_SUDO = """\
#!/bin/sh
# As sudo without a terminal: a leave holds for children of the same parent. `granted` notes every password tried.
here=$(dirname "$0"); echo "sudo $*" >>"$here/log"
case "$1" in
-n) shift; [ -e "$here/leave.$PPID" ] || exit 1; U=0; export U; exec "$@";;
-S) for try in 1 2 3; do IFS= read -r p || exit 1; printf '%s\\n' "$p" >>"$here/tried"
      [ "$p" = "$(cat "$here/password")" ] && { : >"$here/leave.$PPID"; exit 0; }; done; exit 1;;
esac
"""


class Local:
    """A shell on this machine whose `id` says an ordinary user, with a sudo of our own."""

    def __init__(self, folder: Path, password: str) -> None:
        self.folder = folder
        for name, text in (("sudo", FAKE_SUDO), ("id", '#!/bin/sh\necho "${U:-1000}"\n')):
            write(folder / name, text).chmod(0o755)
        write(folder / "password", password)

    def run(self, command: str, stdin: bytes, limits: Limits) -> Output:
        env: Mapping[str, str] = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        done = subprocess.run(["/bin/sh", "-c", command], input=stdin, capture_output=True, env=env, timeout=60)
        assert SECRET not in command
        return Output(done.stdout, done.stderr, done.returncode)

    def tried(self) -> list[str]:
        file = self.folder / "tried"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


@pytest.fixture
def tricky() -> str:
    return r"""a'b"c\n %s $HOME `id` * """ + "\\"


def sudo_shell(local: Local, word: str) -> become.SudoShell:
    return become.SudoShell(local, "env:W", {"env:W": word}.__getitem__, "host")


def test_the_password_opens_sudo_and_the_script_arrives_whole(tmp_path: Path, tricky: str) -> None:
    local = Local(tmp_path, tricky)
    script = b"id -u\necho \"it's whole\"\ncat <<'X'\nlast\nX\n"
    out = sudo_shell(local, tricky).run(COMMAND, script, Limits(60))
    assert out.stdout == b"0\nit's whole\nlast\n"
    assert local.tried() == [tricky]
    assert tricky not in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_wrong_password_is_tried_once_and_is_a_refused_credential(tmp_path: Path) -> None:
    local = Local(tmp_path, "right")
    with pytest.raises(CredentialRefused, match="sudo on host did not take") as caught:
        sudo_shell(local, SECRET).run(COMMAND, b"echo one\necho two\n", Limits(60))
    assert local.tried() == [SECRET]
    assert SECRET not in str(caught.value)


def test_the_password_stays_here_where_sudo_does_not_ask(tmp_path: Path) -> None:
    local = Local(tmp_path, "x")
    write(tmp_path / "sudo", '#!/bin/sh\nshift\nU=0; export U; exec "$@"\n').chmod(0o755)
    shell = become.SudoShell(local, "env:W", secrets_never, "host")
    assert shell.run(COMMAND, b"id -u\n", Limits(60)).stdout == b"0\n"
    (tmp_path / "sudo").unlink()
    write(tmp_path / "id", "#!/bin/sh\necho 0\n").chmod(0o755)
    assert shell.run(COMMAND, b"echo hello\n", Limits(60)).stdout == b"hello\n"


def secrets_never(reference: str) -> str:
    raise AssertionError(reference)


def test_when_sudo_is_not_wanted_its_password_is_not_used() -> None:
    word = {"ansible_become_password": "env:W"}
    assert become.reference(word) == "env:W"
    assert become.reference({**word, "ansible_become": False}) == ""
    assert become.reference({**word, "ansible_become_method": "su"}) == ""
    assert become.reference({**word, "ansible_become_method": "ansible.builtin.sudo"}) == "env:W"
    assert become.reference({"ansible_user": "x"}) == ""


# ---------------------------------------------------------------- patterns, against Ansible's own
PATTERNS = """\
all * web web* db1 web:db web,db web:&prod web:!w2.lan !web &prod all:!web:!db ~^w[12] ~.*lan ~prod w[12].lan
web[0] web[-1] web[1:2] web[1:] web[0:0] web[5] web[0],db1 servers:&prod:!w1.lan w?.lan odd* prod:web
fe80::1 nothing none:web ungrouped db1:db1 web:!web[0] [wd]* no-such,web
""".split()


def test_patterns_pick_what_ansible_picks(folder: Path) -> None:
    path = write(
        folder / "inventories/p.ini",
        "loner\nfe80::1\nodd_name-1.x\n[web]\nw1.lan\nw2.lan\nw3.lan\n[db]\ndb1\n[prod]\nw1.lan\ndb1\n"
        "[servers:children]\nweb\ndb\n",
    )
    groups = {h.name: h.groups or ("ungrouped",) for h in ansible.inventory([path], folder)}
    code = (
        "import sys, json\nfrom ansible.parsing.dataloader import DataLoader\n"
        "from ansible.inventory.manager import InventoryManager\n"
        "m = InventoryManager(DataLoader(), sources=[sys.argv[1]])\nout = {}\n"
        "for p in sys.argv[2:]:\n    try: out[p] = sorted(h.name for h in m.get_hosts(p))\n"
        "    except Exception: out[p] = []\nprint(json.dumps(out))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path), *PATTERNS], capture_output=True, text=True, timeout=120
    )
    theirs: dict[str, list[str]] = json.loads(done.stdout)
    ours: dict[str, list[str]] = {}
    for pattern in PATTERNS:
        try:
            ours[pattern] = sorted(select(pattern, groups))
        except UsageError:
            ours[pattern] = []
    assert {p: ours[p] for p in PATTERNS} == {p: theirs[p] for p in PATTERNS}
    listed = subprocess.run(
        [tool("ansible"), "web:!w2.lan", "-i", str(path), "--list-hosts"], capture_output=True, text=True, timeout=60
    )
    assert [ln.strip() for ln in listed.stdout.splitlines()[1:]] == select("web:!w2.lan", groups)


def test_names_with_odd_characters_can_be_chosen() -> None:
    names = {"s/odd name": ("odd name",), "s/a:b": ("a:b",), "s/x[1]": ("x[1]",), "s/plain": ("plain", "g")}
    assert select("odd name", names) == ["s/odd name"]
    assert select("a:b", names) == ["s/a:b"]
    assert select("g:s/a:b", {**names}) == ["s/plain"]
    for bad in ("", ":", "!", "~(", "g:!g"):
        with pytest.raises(UsageError):
            select(bad, names)
