"""What an Active Directory forest knows of its attributes: name, OID and syntax, which decide how values compare.

The attributes and classes are those of Windows Server 2012 R2, as the ldap3 package carries them for work without a
server (`ldap3.protocol.schemas.ad2012R2`), and what real forests have added since.
"""

from __future__ import annotations

import enum
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache


class Syntax(enum.Enum):
    """How the values of an attribute compare."""

    STRING = "string"  # ignoring case
    EXACT = "exact"  # case counts
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TIME = "time"  # generalized time, to the second
    DN = "dn"
    OCTETS = "octets"
    OPAQUE = "opaque"  # security descriptors: may be present, compares with nothing


@dataclass(frozen=True, slots=True)
class AttributeType:
    """One attribute of the schema."""

    name: str
    oid: str
    syntax_oid: str
    single: bool
    syntax: Syntax


@dataclass(frozen=True, slots=True)
class Schema:
    """The attributes (by lower-case name and by OID) and the classes (lower-case name to name and OID) of a forest."""

    attributes: Mapping[str, AttributeType]
    classes: Mapping[str, tuple[str, str]]
    definitions: Mapping[str, tuple[str, ...]]  # `attributeTypes` and `objectClasses` as CN=Aggregate shows them

    def attribute(self, description: str) -> AttributeType | None:
        """The type behind an attribute description (options such as `;range=0-9` are left aside), or None."""
        return self.attributes.get(description.partition(";")[0].strip().lower())


# Syntax OIDs: RFC 4517 section 3.3 and MS-ADTS 3.1.1.2.2.2.
_SYNTAXES = {
    "1.3.6.1.4.1.1466.115.121.1.7": Syntax.BOOLEAN,
    "1.3.6.1.4.1.1466.115.121.1.12": Syntax.DN,
    "1.3.6.1.4.1.1466.115.121.1.15": Syntax.STRING,
    "1.3.6.1.4.1.1466.115.121.1.24": Syntax.TIME,
    "1.3.6.1.4.1.1466.115.121.1.53": Syntax.TIME,
    "1.3.6.1.4.1.1466.115.121.1.26": Syntax.EXACT,
    "1.3.6.1.4.1.1466.115.121.1.27": Syntax.INTEGER,
    "1.3.6.1.4.1.1466.115.121.1.38": Syntax.STRING,
    "1.3.6.1.4.1.1466.115.121.1.40": Syntax.OCTETS,
    "1.3.6.1.4.1.1466.115.121.1.44": Syntax.EXACT,
    "1.2.840.113556.1.4.905": Syntax.STRING,
    "1.2.840.113556.1.4.906": Syntax.INTEGER,
    "1.2.840.113556.1.4.907": Syntax.OPAQUE,
    "1.2.840.113556.1.4.1362": Syntax.EXACT,
}

# Legacy LAPS, Windows LAPS (learn.microsoft.com, "Windows LAPS schema extensions"), and Server 2016's key credentials.
_ADDED = (
    "( 1.2.840.113556.1.4.2328 NAME 'msDS-KeyCredentialLink' SYNTAX '1.2.840.113556.1.4.903' )",
    "( 1.2.840.113556.1.8000.2554.50051.45980.28112.18903.35903.6685103.1224907.2.1 NAME 'ms-Mcs-AdmPwd'"
    " SYNTAX '1.3.6.1.4.1.1466.115.121.1.44' SINGLE-VALUE )",
    "( 1.2.840.113556.1.8000.2554.50051.45980.28112.18903.35903.6685103.1224907.2.2"
    " NAME 'ms-Mcs-AdmPwdExpirationTime' SYNTAX '1.2.840.113556.1.4.906' SINGLE-VALUE )",
    "( 1.2.840.113556.1.6.44.1.1 NAME 'msLAPS-PasswordExpirationTime' SYNTAX '1.2.840.113556.1.4.906' SINGLE-VALUE )",
    "( 1.2.840.113556.1.6.44.1.2 NAME 'msLAPS-Password' SYNTAX '1.3.6.1.4.1.1466.115.121.1.44' SINGLE-VALUE )",
    "( 1.2.840.113556.1.6.44.1.3 NAME 'msLAPS-EncryptedPassword' SYNTAX '1.3.6.1.4.1.1466.115.121.1.40' SINGLE-VALUE )",
)

_ATTRIBUTE = re.compile(r"^\( (?P<oid>[\d.]+) NAME '(?P<name>[^']+)'(?: SYNTAX '(?P<syntax>[\d.]+)')?(?P<rest>.*)\)$")
_CLASS = re.compile(r"^\( (?P<oid>[\d.]+) NAME '(?P<name>[^']+)'")


@cache
def active_directory_schema() -> Schema:
    """The schema of the stand-in forest, read once (about 60 ms)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # ldap3 2.9.1 asks pyasn1 for names since changed
        from ldap3.protocol.schemas.ad2012R2 import ad_2012_r2_schema

    raw = json.loads(ad_2012_r2_schema)["raw"]
    types: tuple[str, ...] = (*raw["attributeTypes"], *_ADDED)
    classes: tuple[str, ...] = tuple(raw["objectClasses"])
    attributes: dict[str, AttributeType] = {}
    for text in types:
        found = _ATTRIBUTE.match(text)
        if found:
            oid = found["syntax"] or ""
            kind = AttributeType(
                found["name"], found["oid"], oid, "SINGLE-VALUE" in found["rest"], _SYNTAXES.get(oid, Syntax.STRING)
            )
            attributes[kind.name.lower()] = attributes[kind.oid] = kind
    named = {found["name"].lower(): (found["name"], found["oid"]) for text in classes if (found := _CLASS.match(text))}
    return Schema(attributes, named, {"attributeTypes": types, "objectClasses": classes})
