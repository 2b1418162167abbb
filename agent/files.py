"""The files that people write, as pydantic types: the one source of loading checks and of the JSON Schemas.

Only shapes live here; what the words mean together is `baseline.py`, `trust.py`, `exceptions.py`.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from agent.model import Severity, Verdict

ControlId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(\.[a-z0-9][a-z0-9-]*)+$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]

THEMES = ("identity", "devices", "network", "data", "updates", "logging", "backup")
"""Columns of the leaders' page. One word each; they follow the DfE cyber standard's own parts."""

CONDITION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "description": "all / any / not, a quantifier, a leaf {fact|item: name, operator: value}, or {manual: question}",
}


class File(BaseModel):
    """Base of all: unknown keys are errors, values are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Parameter(File):
    """A value that profiles and schools may set. Without `default`, a control that uses it waits until it is set."""

    type: Literal["int", "str", "bool", "list", "map", "duration"]
    why: Text
    default: Any = None
    required: bool = True
    """False: an unset value is fine (a `default` makes this so by itself)."""

    @property
    def has_default(self) -> bool:
        """Whether the file gives a default, be it an empty one."""
        return "default" in self.model_fields_set


class Fix(File):
    """How drift is mended: a reviewed task file with typed variables, or a written step."""

    playbook: Text | None = None
    manual: Text | None = None
    variables: dict[str, Any] = Field(default_factory=dict)
    risk: Literal["low", "medium", "high", "disruptive"] = "low"
    reboot: bool = False
    minutes: int = 5
    undo: str = ""
    note: str = ""
    rights: list[Text] = Field(default_factory=list)
    """What the account that runs it must be allowed: Graph permissions, or rights in a directory in words."""

    @model_validator(mode="after")
    def _one(self) -> Fix:
        if (self.playbook is None) == (self.manual is None):
            raise ValueError("a fix names either a playbook or a manual step")
        return self


class AppliesTo(File):
    """Which targets a control is about. Another platform gives no finding; any other mismatch is not_applicable."""

    platform: Name
    roles: list[str] = Field(default_factory=list)
    phase: list[str] = Field(default_factory=list)
    needs: list[Annotated[str, StringConstraints(pattern=r"^licence [a-z0-9_]+$")]] = Field(default_factory=list)


class Example(File):
    """Facts and the verdict that they must give. Facts that are left out are unknown."""

    name: Text
    expect: Verdict
    facts: dict[str, Any] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    schools: list[dict[str, Any]] = Field(default_factory=list)
    school: str | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    as_of: str = "2026-11-01T00:00:00Z"
    offenders: list[str] | None = None
    reason: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _verdict(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("expect"), str):
            known = [v.value for v in Verdict]
            if data["expect"] in known:
                return {**data, "expect": Verdict(data["expect"])}
            raise ValueError(f"expect is one of {', '.join(known)}")
        return data


class ControlFile(File):
    """baselines/controls/<platform>/<id>.yml: one rule, whose title states the good state."""

    id: ControlId
    version: Annotated[int, Field(ge=1)]
    title: Annotated[str, StringConstraints(min_length=8, max_length=90)]
    theme: Literal["identity", "devices", "network", "data", "updates", "logging", "backup"]
    severity: Literal["low", "medium", "high", "critical"]
    scope: Literal["target", "items"] = "target"
    applies_to: AppliesTo
    applies_when: Annotated[dict[str, Any], Field(json_schema_extra=CONDITION_SCHEMA)] | None = None
    why: Annotated[str, StringConstraints(min_length=12, max_length=300)]
    check: Annotated[dict[str, Any], Field(json_schema_extra=CONDITION_SCHEMA)]
    fix: Fix | None = None
    references: dict[str, list[str]] = Field(default_factory=dict)
    parameters: dict[Name, Parameter] = Field(default_factory=dict)
    examples: list[Example] = Field(default_factory=list)
    notes: str = ""

    @property
    def level(self) -> Severity:
        """The severity as its ordered type."""
        return Severity(self.severity)


class Group(File):
    """Values (and controls) of one inventory group."""

    parameters: dict[Name, Any] = Field(default_factory=dict)
    controls: list[str] = Field(default_factory=list)


class ProfileFile(File):
    """profiles/<id>.yml: which controls, with which values."""

    id: Name
    title: str = ""
    extends: list[Name] = Field(default_factory=list)
    controls: list[str] = Field(default_factory=list)
    parameters: dict[Name, Any] = Field(default_factory=dict)
    groups: dict[str, Group] = Field(default_factory=dict)


class SiteParameter(File):
    """A value that only the site knows; ships without one unless an empty value is right."""

    type: Literal["int", "str", "bool", "list", "map", "duration"]
    why: Text
    default: Any = None
    example: Any = None

    @property
    def has_default(self) -> bool:
        """Whether the file gives a default, be it an empty one."""
        return "default" in self.model_fields_set


class SiteParametersFile(File):
    """baselines/site-parameters.yml: the names of the values that are a site's own."""

    parameters: dict[Name, SiteParameter]


class AcceptedOffender(File):
    """One accepted offender; with `value`, only as long as it still reads so."""

    offender: Text
    value: str | None = None


class ExceptionEntry(File):
    """An accepted departure. The control still runs and its true verdict is kept beside it."""

    control: str
    school: str | None = None
    target: str | None = None
    group: str | None = None
    offenders: list[str | AcceptedOffender] = Field(default_factory=list)
    accept_unknown: bool = False
    reason: Annotated[str, StringConstraints(min_length=8)]
    owner: Text
    expires: date

    @model_validator(mode="before")
    @classmethod
    def _date(cls, data: Any) -> Any:
        return _dates(data, "expires")


class ExceptionsFile(File):
    """exceptions.yml."""

    exceptions: list[ExceptionEntry] = Field(default_factory=list)


class AttestationEntry(File):
    """A dated, named human answer to what no machine can read. `control` or `requirement` names what it answers."""

    control: str | None = None
    requirement: str | None = None
    school: str | None = None
    answer: Literal["yes", "no"]
    by: Text
    on: date
    expires: date
    evidence: Text

    @model_validator(mode="before")
    @classmethod
    def _date(cls, data: Any) -> Any:
        return _dates(_dates(data, "expires"), "on")

    @model_validator(mode="after")
    def _one(self) -> AttestationEntry:
        if (self.control is None) == (self.requirement is None):
            raise ValueError("an attestation answers either a control or a requirement")
        return self


class AttestationsFile(File):
    """attestations.yml."""

    attestations: list[AttestationEntry] = Field(default_factory=list)


class SchoolDirectory(File):
    """Which part of a directory is a school's. Without a selector the school sees everything."""

    use: str
    ou: str | list[str] | None = None
    upn_suffix: str | None = None
    groups: list[str] = Field(default_factory=list)


class SchoolTenant(File):
    """Which part of a tenant is a school's. Without a selector the school sees everything."""

    use: str
    domains: list[str] = Field(default_factory=list)
    staff_groups: list[str] = Field(default_factory=list)
    pupil_groups: list[str] = Field(default_factory=list)
    administrative_units: list[str] = Field(default_factory=list)
    device_names: str | None = None


class SchoolEntry(File):
    """One school of trust.yml."""

    name: Text
    urn: int | None = None
    phase: str = ""
    code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]*$")] = ""
    inventory: str | list[str] | None = None
    directory: SchoolDirectory | None = None
    tenant: SchoolTenant | None = None
    parameters: dict[Name, Any] = Field(default_factory=dict)
    not_scanned: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    at_once: Annotated[int, Field(ge=1, le=200)] = 8
    """Devices of this school that are read at the same time: its line may be thin."""


class DirectoryFix(File):
    """The account that changes a directory; the one that scans it may only read. `password` is a reference."""

    bind: Text
    password: Text


class TenantFix(File):
    """The app that changes a tenant; the one that scans it may only read. `secret` or `certificate` is a reference."""

    client_id: Text
    secret: str | None = None
    certificate: str | None = None

    @model_validator(mode="after")
    def _one(self) -> TenantFix:
        if (self.secret is None) == (self.certificate is None):
            raise ValueError("an app for fixes has either a secret or a certificate")
        return self


class DirectoryEntry(File):
    """One directory. `password` is a reference."""

    url: str | list[str]
    bind: str = ""
    password: str = ""
    ca_file: str | None = None
    auth: Literal["simple", "ntlm", "kerberos"] = "simple"
    starttls: bool = True
    base_dn: str | None = None
    fix: DirectoryFix | None = None


_NAME_SERVER = re.compile(r"\d{1,3}(\.\d{1,3}){3}(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+")


class TenantEntry(File):
    """One Microsoft 365 tenant. `secret` or `certificate` is a reference.

    `beta` and `each_device` (one request for every managed device) are asked only where they are switched on;
    `dns_servers` answer for the mail records of its domains in place of the machine's own.
    """

    tenant_id: str
    client_id: str
    secret: str | None = None
    certificate: str | None = None
    cloud: Literal["global"] = "global"
    authority: str | None = None
    graph_url: str | None = None
    ca_file: str | None = None
    beta: bool = False
    each_device: bool = False
    dns_servers: list[str] = Field(default_factory=list)
    fix: TenantFix | None = None

    @model_validator(mode="after")
    def _one(self) -> TenantEntry:
        if (self.secret is None) == (self.certificate is None):
            raise ValueError("a tenant names either a secret or a certificate")
        for server in self.dns_servers:
            if not _NAME_SERVER.fullmatch(server):
                raise ValueError(f"{server!r} is no address of a name server, such as 192.0.2.53 or 192.0.2.53:5353")
        return self


class Notify(File):
    """Whom a nightly audit tells."""

    email: str | None = None
    teams_webhook: str | None = None


class ChangeWindow(File):
    """When a school's systems may be changed: days and hours in the trust's time zone."""

    days: list[str] = Field(default_factory=list)
    hours: str = ""
    school: str | None = None


class Freeze(File):
    """Days on which nothing is changed, such as exams: first and last day, for one school or for all."""

    name: Text
    begin: Annotated[date, Field(alias="from")]
    to: date
    school: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _date(cls, data: Any) -> Any:
        return _dates(_dates(data, "from"), "to")

    @model_validator(mode="after")
    def _order(self) -> Freeze:
        if self.to < self.begin:
            raise ValueError(f"a freeze ends after it begins: {self.to} is before {self.begin}")
        return self


class TrustFile(File):
    """trust.yml."""

    name: Text
    timezone: str = "Europe/London"
    profile: Name = "core"
    schools: dict[Name, SchoolEntry]
    directories: dict[Name, DirectoryEntry] = Field(default_factory=dict)
    tenants: dict[Name, TenantEntry] = Field(default_factory=dict)
    notify: Notify | None = None
    change_windows: list[ChangeWindow] = Field(default_factory=list)
    freezes: list[Freeze] = Field(default_factory=list)
    workers: Annotated[int, Field(ge=1, le=200)] = 20


def _dates(data: Any, key: str) -> Any:
    """YAML 1.2 has no dates: ISO text becomes one here."""
    if isinstance(data, dict) and isinstance(data.get(key), str):
        try:
            return {**data, key: date.fromisoformat(data[key])}
        except ValueError:
            raise ValueError(f"{key} is a date such as 2027-03-31, not {data[key]!r}") from None
    return data
