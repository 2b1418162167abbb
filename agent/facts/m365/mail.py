"""Facts of domains beyond the tenant's own settings: who signs people in, and what public DNS says of their mail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agent.facts.m365.protocol import Lookup, Request
from agent.facts.m365.source import SOURCES, Answers, Ask, Source
from agent.facts.m365.tenant import DOMAINS, PLATFORM
from agent.facts.m365.values import maybe, objects
from agent.facttypes import BOOL, STR, Enum, Field, ListOf, Record, fact
from agent.model import Partial, Reason, Unknown

_FEDERATION = "Domain-InternalFederation.Read.All"


def _federated(answers: Answers) -> list[str]:
    held, _ = objects(answers[DOMAINS].value)
    return [str(d["id"]) for d in held if d.get("authenticationType") == "Federated" and d.get("id")]


def _federation_of(domain: str) -> Request:
    return Request(f"/domains/{domain}/federationConfiguration", _FEDERATION)


def _federations(answers: Answers, _: Any) -> Any:
    _, why = objects(answers[DOMAINS].value)
    if isinstance(answers[DOMAINS].value, Unknown):
        return why
    out: list[Any] = []
    for domain in _federated(answers):
        answer = answers[_federation_of(domain)]
        held, lost = objects(answer.value)
        if lost is not None:
            out.append({"domain": domain, "issuer": lost, "mfa": lost})
        elif not held:
            # It has one, as the domain is federated; that none is shown proves nothing.
            unseen = Unknown(Reason.UNREADABLE, f"Graph shows no federation of {domain}")
            out.append({"domain": domain, "issuer": unseen, "mfa": unseen})
        out += [
            {"domain": domain, "issuer": maybe(b, "issuerUri"), "mfa": maybe(b, "federatedIdpMfaBehavior")}
            for b in held
        ]
    return Partial(tuple(out), why) if why else out


fact(
    "federation",
    ListOf(
        Record(
            {
                "domain": Field(STR),
                "issuer": Field(STR, "who signs its people in", may_be_absent=True),
                "mfa": Field(
                    Enum(
                        (
                            "acceptIfMfaDoneByFederatedIdp",
                            "enforceMfaByFederatedIdp",
                            "rejectMfaByFederatedIdp",
                        ),
                        closed=False,
                    ),
                    "whether MFA that the other side says it did counts; absent: as the domain's old settings say",
                    may_be_absent=True,
                ),
            },
            key="domain",
            label="domain",
        )
    ),
    PLATFORM,
    source=f"{DOMAINS}; GET /domains/{{id}}/federationConfiguration",
    rights=(DOMAINS.permission, _FEDERATION),
    doc="Domains whose people are signed in elsewhere.",
)
SOURCES["federation"] = Source(
    (DOMAINS,),
    _federations,
    lambda a: [_federation_of(d) for d in _federated(a)],
    (("GET /domains/{id}/federationConfiguration, for each federated domain", _FEDERATION),),
)

# Mail: the domains that carry it by Graph's own records, then what the world sees of them.
SELECTORS = ("selector1", "selector2")
"""The two names under which Microsoft 365 publishes its signing keys."""
MOST_REDIRECTS = 5
_MICROSOFT = (".onmicrosoft.com", ".onmicrosoft.us", ".onmschina.cn")
"""Where every tenant has names without asking, `NAME.mail.onmicrosoft.com` among them."""
_EMAIL = "Email"


def _records_of(domain: str) -> Request:
    return Request(f"/domains/{domain}/serviceConfigurationRecords", DOMAINS.permission)


def _own(answers: Answers) -> list[str]:
    """Verified domains of the trust; those under Microsoft's own names are Microsoft's to publish for."""
    held, _ = objects(answers[DOMAINS].value)
    names = [str(d["id"]).lower() for d in held if d.get("isVerified") is True and not d.get("isInitial")]
    return [name for name in names if not name.endswith(_MICROSOFT)]


def _says_mail(domain: str, answers: Answers) -> bool:
    """Whether the list of domains itself says that one carries mail."""
    held, _ = objects(answers[DOMAINS].value)
    mine = next((d for d in held if str(d.get("id")).lower() == domain), {})
    services = mine.get("supportedServices")
    return isinstance(services, list) and _EMAIL in services


def _carries_mail(domain: str, answers: Answers) -> bool | Unknown:
    if _says_mail(domain, answers):
        return True
    answer = answers.get(_records_of(domain))
    if answer is None:
        return Unknown(Reason.NOT_COLLECTED)
    held, why = objects(answer.value)
    if any(b.get("supportedService") == _EMAIL for b in held):
        return True
    return why if why is not None else False


def texts(answers: Answers, name: str) -> list[str] | Unknown:
    """TXT records of a name; `Unknown` when DNS did not say."""
    answer = answers.get(Lookup(name))
    if answer is None:
        return Unknown(Reason.NOT_COLLECTED, f"DNS TXT {name}")
    return list(answer.value) if isinstance(answer.value, (list, tuple)) else answer.value


def spf_of(held: Sequence[str]) -> list[str]:
    """The records that are SPF."""
    return [text for text in held if re.match(r"v=spf1( |$)", text.strip(), re.IGNORECASE)]


def _redirect(record: str) -> str:
    """Where a record without `all` sends on to; empty when nowhere."""
    terms = record.lower().split()
    if any(re.fullmatch(r"[+?~-]?all", term) for term in terms):
        return ""
    target = next((term[9:].rstrip(".") for term in terms if term.startswith("redirect=")), "")
    return target if "%" not in target else ""


def _spf_chain(domain: str, answers: Answers) -> tuple[list[str], str]:
    """(names asked so far, the next one to ask): the way that `redirect=` leads."""
    names = [domain]
    while len(names) <= MOST_REDIRECTS:
        held = texts(answers, names[-1])
        records = spf_of(held) if isinstance(held, list) else []
        target = _redirect(records[0]) if len(records) == 1 else ""
        if not target or target in names:
            return names, ""
        names.append(target)
        if Lookup(target) not in answers:
            return names[:-1], target
    return names, ""


def parents(domain: str) -> list[str]:
    """The domain and those above it, the top level aside: where a DMARC record is looked for, nearest first."""
    parts = domain.split(".")
    return [".".join(parts[n:]) for n in range(max(1, len(parts) - 1))][:8]


def _tags(record: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in record.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip()}


def dmarc_of(held: Sequence[str]) -> dict[str, str] | None:
    """Tags of a name's one DMARC record; None when there is none, or more than one (which counts as none)."""
    found = [text for text in held if re.match(r"\s*v\s*=\s*DMARC1\s*(;|$)", text)]
    return _tags(found[0]) if len(found) == 1 else None


def _mail_follow(answers: Answers) -> list[Ask]:
    asked: list[Ask] = []
    for domain in _own(answers):
        if not _says_mail(domain, answers):
            asked.append(_records_of(domain))
        if _carries_mail(domain, answers) is not True:
            continue
        names, following = _spf_chain(domain, answers)
        asked += [Lookup(name) for name in (*names, following) if name]
        asked += [Lookup(f"{selector}._domainkey.{domain}") for selector in SELECTORS]
        for name in parents(domain):
            asked.append(Lookup(f"_dmarc.{name}"))
            held = texts(answers, f"_dmarc.{name}")
            if isinstance(held, Unknown) or dmarc_of(held) is not None:
                break
    return asked


def spf(domain: str, answers: Answers) -> Any:
    """What SPF says of everybody who is not named: `fail`, `softfail`, `neutral`, `pass`, or `none` and `invalid`."""
    names, _ = _spf_chain(domain, answers)
    held: list[str] = []
    for name in names:
        read = texts(answers, name)
        if isinstance(read, Unknown):
            return read
        held = read
    records = spf_of(held)
    if len(records) != 1:
        return "invalid" if records or len(names) > 1 else "none"
    ends = [term for term in records[0].lower().split() if re.fullmatch(r"[+?~-]?all", term)]
    if not ends:
        return "invalid" if _redirect(records[0]) or "redirect=" in records[0].lower() else "neutral"
    return {"-": "fail", "~": "softfail", "?": "neutral"}.get(ends[0][0], "pass")


def dmarc(domain: str, answers: Answers) -> Any:
    """What receivers are asked to do with forged mail: `reject`, `quarantine`, `none`, or `missing`."""
    for name in parents(domain):
        held = texts(answers, f"_dmarc.{name}")
        if isinstance(held, Unknown):
            return held
        tags = dmarc_of(held)
        if tags is not None:
            wish = (tags.get("sp") if name != domain else None) or tags.get("p", "none")
            # A policy for none of the mail, or one that is only tried out, asks for nothing.
            idle = tags.get("pct", "").strip() == "0" or tags.get("t", "").lower() == "y"
            return wish.lower() if wish.lower() in ("reject", "quarantine") and not idle else "none"
    return "missing"


def dkim(domain: str, answers: Answers) -> Any:
    """How many of the two selectors have a key; an empty key is one that was taken back."""
    keys = 0
    for selector in SELECTORS:
        held = texts(answers, f"{selector}._domainkey.{domain}")
        if isinstance(held, Unknown):
            return held
        keys += any(_tags(text).get("p") for text in held)
    return {0: "neither", 1: "one", 2: "both"}[keys]


def _mail(answers: Answers, _: Any) -> Any:
    _, why = objects(answers[DOMAINS].value)
    if isinstance(answers[DOMAINS].value, Unknown):
        return why
    out: list[Any] = []
    for domain in _own(answers):
        carries = _carries_mail(domain, answers)
        item: dict[str, Any] = {"domain": domain, "mail": carries}
        judged = {"spf": spf, "dkim": dkim, "dmarc": dmarc}
        out.append(
            {**item, **{name: read(domain, answers) for name, read in judged.items()}}
            if carries is True
            else {**item, **dict.fromkeys(judged, carries if isinstance(carries, Unknown) else None)}
        )
    return Partial(tuple(out), why) if why else out


fact(
    "mail_domains",
    ListOf(
        Record(
            {
                "domain": Field(STR),
                "mail": Field(BOOL, "the tenant takes mail for it"),
                "spf": Field(
                    Enum(("fail", "softfail", "neutral", "pass", "none", "invalid")),
                    "what SPF says of senders that it does not name; absent: no mail",
                    may_be_absent=True,
                ),
                "dkim": Field(Enum(("both", "one", "neither")), "selectors that have a key", may_be_absent=True),
                "dmarc": Field(
                    Enum(("reject", "quarantine", "none", "missing")),
                    "what is asked of receivers of forged mail, by the record of the domain or of one above it",
                    may_be_absent=True,
                ),
            },
            key="domain",
            label="domain",
        )
    ),
    PLATFORM,
    source=f"{DOMAINS}; GET /domains/{{id}}/serviceConfigurationRecords; DNS",
    rights=(DOMAINS.permission,),
    doc="The trust's verified domains and what public DNS says of their mail.",
)
SOURCES["mail_domains"] = Source(
    (DOMAINS,),
    _mail,
    _mail_follow,
    (
        (
            "GET /domains/{id}/serviceConfigurationRecords, for verified domains not known to have mail",
            DOMAINS.permission,
        ),
        ("DNS TXT {domain}, _dmarc.{domain}, selector1 and selector2._domainkey.{domain}, for each mail domain", ""),
    ),
)
