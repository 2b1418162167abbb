"""What an Ansible inventory says of a WinRM or PSRP connection, as a type. Connects nowhere.

Both of Ansible's connections lead to the same endpoint of Windows, and both are read here into one way there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.connect.inventory_values import is_template
from agent.connect.ssh_options import FOLDER, clean
from agent.errors import Unreachable

HTTPS_PORT, HTTP_PORT = 5986, 5985
DEFAULT_CONFIGURATION = "Microsoft.PowerShell"
# What Ansible's plugins read, ours under one word: the first that is set counts.
_NAMES = {
    "host": ("ansible_host", "ansible_psrp_host", "ansible_winrm_host"),
    "port": ("ansible_port", "ansible_psrp_port", "ansible_winrm_port"),
    "user": ("ansible_user", "ansible_psrp_user", "ansible_winrm_user"),
    "password": ("ansible_password", "ansible_winrm_pass", "ansible_winrm_password"),
    "protocol": ("ansible_psrp_protocol", "ansible_winrm_scheme"),
    "path": ("ansible_psrp_path", "ansible_winrm_path"),
    "auth": ("ansible_psrp_auth", "ansible_winrm_transport"),
    "ca": ("ansible_psrp_ca_cert", "ansible_psrp_cert_trust_path", "ansible_winrm_ca_trust_path"),
    "validation": ("ansible_psrp_cert_validation", "ansible_winrm_server_cert_validation"),
    "certificate": ("ansible_psrp_certificate_pem", "ansible_winrm_cert_pem"),
    "key": ("ansible_psrp_certificate_key_pem", "ansible_winrm_cert_key_pem"),
    "encryption": ("ansible_psrp_message_encryption", "ansible_winrm_message_encryption"),
    "proxy": ("ansible_psrp_proxy", "ansible_winrm_proxy"),
    "service": ("ansible_psrp_negotiate_service", "ansible_winrm_service"),
    "spn_host": ("ansible_psrp_negotiate_hostname_override", "ansible_winrm_kerberos_hostname_override"),
    "configuration": ("ansible_psrp_configuration_name",),
}
_AUTHS = {
    "negotiate": "negotiate",
    "kerberos": "kerberos",
    "ntlm": "ntlm",
    "basic": "basic",
    "certificate": "certificate",
    "ssl": "basic",  # pywinrm's word for Basic inside TLS
    "plaintext": "basic",  # and for Basic outside it, which is refused below
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to a Windows host. `password` is a reference, never a value; paths are absolute."""

    host: str
    port: int
    https: bool
    path: str
    """Without the slash before it."""
    auth: str
    """negotiate, kerberos, ntlm, basic or certificate."""
    user: str
    password: str
    ca: Path | None
    """A file or folder of authorities; None: those of this machine."""
    certificate: Path | None
    key: Path | None
    seal: bool
    """Every message is encrypted by the login's own key: always outside TLS, inside where the inventory asks for it."""
    configuration: str
    service: str
    """The service of the Kerberos name; with `spn_host`."""
    spn_host: str
    unchecked: bool = False
    """The inventory asks not to check the certificate. It is checked all the same; messages say so."""

    @property
    def place(self) -> str:
        """The host as sentences name it: with its port where that is not the usual one."""
        usual = HTTPS_PORT if self.https else HTTP_PORT
        return clean(self.host if self.port == usual else f"{self.host} port {self.port}")


def endpoint(name: str, settings: Mapping[str, Any]) -> Endpoint:
    """Read inventory variables. Certificates are always checked, and nothing but sealed messages goes over HTTP.

    Raises `Unreachable` where they ask for what this client does not do, naming the variable.
    """
    said = {word: _said(name, settings, names) for word, names in _NAMES.items()}
    host = said["host"] or name
    if not _is_host(host):
        raise Unreachable(f"{clean(name)} has no usable host name.", "Correct ansible_host in the inventory.")
    port, https = _port(name, said["port"], said["protocol"].lower())
    auth = _auth(name, settings, https, bool(said["certificate"]))
    if said["proxy"]:
        raise Unreachable(
            f"{clean(name)} is behind a proxy, and WinRM is spoken directly here.",
            "Take the proxy out of the inventory, or reach the host over SSH.",
        )
    encryption = said["encryption"].lower() or "auto"
    if encryption == "never" and not https:
        raise Unreachable(
            f"{clean(name)} is to be read over HTTP without encryption, which anybody in between could change.",
            "Use HTTPS, or leave message encryption on.",
        )
    if encryption == "always" and auth in ("basic", "certificate"):
        raise Unreachable(
            f"{clean(name)} asks for message encryption, which a login by {auth} does not have.",
            "Leave it at auto: HTTPS encrypts already.",
        )
    folder = Path(str(settings[FOLDER])) if settings.get(FOLDER) else None
    certificate, key = _path(said["certificate"], folder), _path(said["key"], folder)
    if auth == "certificate" and certificate is None:
        raise Unreachable(
            f"{clean(name)} logs in by certificate, and none is named.",
            "Set ansible_psrp_certificate_pem and ansible_psrp_certificate_key_pem.",
        )
    if auth in ("ntlm", "basic") and not said["user"]:
        raise Unreachable(f"{clean(name)} has no ansible_user.", f"A login by {auth} takes a user and a password.")
    return Endpoint(
        host,
        port,
        https,
        said["path"].lstrip("/") or "wsman",
        auth,
        said["user"],
        said["password"],
        _path(said["ca"], folder),
        certificate if auth == "certificate" else None,
        (key or certificate) if auth == "certificate" else None,
        not https or encryption == "always",
        said["configuration"] or DEFAULT_CONFIGURATION,
        said["service"] or "WSMAN",
        said["spn_host"] or host,
        said["validation"].lower() == "ignore",
    )


def _said(name: str, settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of these variables that is set, as text. Raises `Unreachable` for a template that was left open."""
    for key in names:
        value = settings.get(key)
        if value is None or value == "" or isinstance(value, (Mapping, list)):
            continue
        if is_template(value):
            raise Unreachable(
                f"{key} of {clean(name)} is a template that is not filled in here.",
                "Write its value; plain {{ names }} of variables are filled in.",
            )
        return str(value)
    return ""


def _is_host(text: str) -> bool:
    return bool(text) and text.isascii() and all(c.isalnum() or c in ".-_:%" for c in text)


def _port(name: str, port: str, protocol: str) -> tuple[int, bool]:
    """(port, whether HTTPS), as Ansible reads them: HTTPS unless HTTP is named, or its port."""
    if protocol not in ("", "http", "https"):
        raise Unreachable(f"{clean(name)} is to be read by {clean(protocol)}.", "WinRM knows http and https.")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise Unreachable(f"{clean(name)} has no usable port: {clean(port)[:20]!r}.", "Correct ansible_port.")
    https = protocol == "https" or (not protocol and port != str(HTTP_PORT))
    return int(port) if port else HTTPS_PORT if https else HTTP_PORT, https


def _auth(name: str, settings: Mapping[str, Any], https: bool, certificate: bool) -> str:
    """How to log in. Where the inventory says nothing: by certificate where it names one, else Negotiate."""
    said = settings.get("ansible_psrp_auth") or settings.get("ansible_winrm_transport")
    listed = said if isinstance(said, list) else str(said or "").split(",")
    words = [str(w).strip().lower() for w in listed if str(w).strip()]
    if not words:
        return "certificate" if certificate else "negotiate"
    for word in words:
        if word != "credssp" and word not in _AUTHS:
            raise Unreachable(
                f"{clean(name)} is to log in by {clean(word)}, which is not known here.",
                "Use negotiate, kerberos, ntlm, certificate or basic.",
            )
    if "ssl" in words and certificate:
        return "certificate"
    usable = [_AUTHS[w] for w in words if w != "credssp" and (https or _AUTHS[w] not in ("basic", "certificate"))]
    if "kerberos" in usable and "ntlm" in usable:
        return "negotiate"
    if usable:
        return usable[0]
    if words == ["credssp"]:
        raise Unreachable(
            f"{clean(name)} is to log in by CredSSP, which hands the password over to the host.",
            "Use negotiate or kerberos: a scan needs nothing beyond that host.",
        )
    raise Unreachable(
        f"{clean(name)} is to log in by {clean(words[0])} over HTTP, which would show the password to the network.",
        "Use HTTPS, or ansible_psrp_auth: negotiate.",
    )


def _path(text: str, folder: Path | None) -> Path | None:
    """A file of the inventory: relative names start in the trust's folder."""
    if not text:
        return None
    path = Path(text).expanduser()
    return folder / path if folder is not None else path


__all__ = ["DEFAULT_CONFIGURATION", "Endpoint", "endpoint"]
