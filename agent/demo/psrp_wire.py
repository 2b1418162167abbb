"""What PowerShell remoting looks like on the wire, from the host's side. Pure: bytes and XML, no socket.

SOAP envelopes after [MS-WSMV], fragments and messages after [MS-PSRP] 2.2.1 and 2.2.4, PowerShell's XML after 2.2.5.
Written from the specifications and not with the client's library, so that the two can disagree.
"""

from __future__ import annotations

import base64
import re
import struct
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

NS = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "wsa": "http://schemas.xmlsoap.org/ws/2004/08/addressing",
    "wsman": "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd",
    "rsp": "http://schemas.microsoft.com/wbem/wsman/1/windows/shell",
    "ps": "http://schemas.microsoft.com/powershell",
}
ANONYMOUS = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
# Message types ([MS-PSRP] 2.2.1), and the states of a pool and of a pipeline (2.2.3.4, 2.2.3.5).
SESSION_CAPABILITY, CREATE_PIPELINE = 0x00010002, 0x00021006
POOL_STATE, PRIVATE_DATA = 0x00021005, 0x00021009
OUTPUT, ERROR, PIPELINE_STATE, WARNING = 0x00041004, 0x00041005, 0x00041006, 0x00041007
OPENED, COMPLETED, FAILED = 2, 4, 5
TIMED_OUT = 2150858793
"""WSManFault of a Receive for which there was nothing to tell in time (wsmerror.h)."""
PIECE = 32_000
"""Bytes of a message in one fragment, as Windows sends them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: the last word of its action, its ids, and its body."""

    action: str
    message_id: str
    shell: str
    command: str
    resource: str
    seconds: float
    """How long the client wants to wait."""
    body: ET.Element = field(repr=False)


def request(data: bytes) -> Asked:
    """A SOAP request taken apart. Raises ValueError (also as ParseError's base) or AttributeError for anything else."""
    root = ET.fromstring(data)  # noqa: S314 - this is the stand-in; its client is ours
    head = root.find("s:Header", NS)
    body = root.find("s:Body", NS)
    if head is None or body is None:
        raise ValueError("no SOAP envelope")
    action = head.findtext("wsa:Action", "", NS)
    selectors = {s.get("Name"): s.text or "" for s in head.iterfind("wsman:SelectorSet/wsman:Selector", NS)}
    created = body.find("rsp:Shell", NS)
    shell = selectors.get("ShellId") or (created.get("ShellId") if created is not None else "") or ""
    wait = re.fullmatch(r"PT([\d.]+)S", head.findtext("wsman:OperationTimeout", "PT20S", NS))
    named = next((e.get("CommandId") for e in body.iter() if e.get("CommandId")), "")
    return Asked(
        action.rsplit("/", 1)[-1],
        head.findtext("wsa:MessageID", "", NS),
        shell,
        named or "",
        head.findtext("wsman:ResourceURI", "", NS),
        float(wait[1]) if wait else 20.0,
        body,
    )


def envelope(asked: Asked, body: str) -> bytes:
    """A whole answer to a request."""
    spaces = " ".join(f'xmlns:{k}="{v}"' for k, v in NS.items() if k != "ps")
    return (
        f'<s:Envelope xml:lang="en-US" {spaces}><s:Header>'
        f"<wsa:Action>{SHELL}/{asked.action}Response</wsa:Action><wsa:MessageID>uuid:{uuid.uuid4()}</wsa:MessageID>"
        f"<wsa:To>{ANONYMOUS}</wsa:To><wsa:RelatesTo>{escape(asked.message_id)}</wsa:RelatesTo>"
        f"</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def created(asked: Asked) -> bytes:
    """The answer to Create."""
    return envelope(
        asked,
        f"<rsp:Shell><rsp:ShellId>{escape(asked.shell)}</rsp:ShellId><rsp:ResourceUri>{escape(asked.resource)}"
        "</rsp:ResourceUri><rsp:InputStreams>stdin pr</rsp:InputStreams><rsp:OutputStreams>stdout</rsp:OutputStreams>"
        "<rsp:IdleTimeOut>PT120.000S</rsp:IdleTimeOut></rsp:Shell>"
        '<x:ResourceCreated xmlns:x="http://schemas.xmlsoap.org/ws/2004/09/transfer">'
        f"<wsa:Address>{ANONYMOUS}</wsa:Address><wsa:ReferenceParameters><wsman:ResourceURI>{escape(asked.resource)}"
        f'</wsman:ResourceURI><wsman:SelectorSet><wsman:Selector Name="ShellId">{escape(asked.shell)}</wsman:Selector>'
        "</wsman:SelectorSet></wsa:ReferenceParameters></x:ResourceCreated>",
    )


def begun(asked: Asked) -> bytes:
    """The answer to Command."""
    return envelope(
        asked,
        f"<rsp:CommandResponse><rsp:CommandId>{escape(asked.command)}</rsp:CommandId></rsp:CommandResponse>",
    )


def received(asked: Asked, data: bytes, done: bool) -> bytes:
    """The answer to Receive: fragments on stdout."""
    command = f' CommandId="{escape(asked.command)}"' if asked.command else ""
    state = f'<rsp:CommandState{command} State="{SHELL}/CommandState/{"Done" if done else "Running"}"/>'
    stream = f'<rsp:Stream Name="stdout"{command}>{base64.b64encode(data).decode()}</rsp:Stream>' if data else ""
    return envelope(asked, f"<rsp:ReceiveResponse>{stream}{state if command else ''}</rsp:ReceiveResponse>")


def fault(asked: Asked, code: int, text: str) -> bytes:
    """A SOAP fault with Microsoft's detail."""
    return envelope(
        asked,
        "<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>wsman:InternalError</s:Value></s:Subcode>"
        f'</s:Code><s:Reason><s:Text xml:lang="en-US">{escape(text)}</s:Text></s:Reason><s:Detail>'
        f'<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{code}" '
        f'Machine="host"><f:Message>{escape(text)}</f:Message></f:WSManFault></s:Detail></s:Fault>',
    )


# --------------------------------------------------------------------------------------------------------- fragments


class Joined:
    """Fragments put together again → messages as (type, pipeline id, XML)."""

    def __init__(self) -> None:
        self._parts: dict[int, bytearray] = {}

    def take(self, data: bytes) -> Iterator[tuple[int, str, str]]:
        """Messages that are whole with these fragments. Raises ValueError for what are none."""
        while data:
            if len(data) < 21:
                raise ValueError("a fragment is cut short")
            number, _, flags, size = struct.unpack(">QQBI", data[:21])
            part, data = data[21 : 21 + size], data[21 + size :]
            whole = self._parts.setdefault(number, bytearray())
            whole += part
            if flags & 2:
                message = bytes(self._parts.pop(number))
                kind = struct.unpack("<I", message[4:8])[0]
                yield kind, str(uuid.UUID(bytes_le=message[24:40])).upper(), message[40:].decode("utf-8-sig")


class Numbered:
    """Messages cut into fragments, numbered as they go out."""

    def __init__(self) -> None:
        self._next = 1

    def cut(self, kind: int, pool: str, pipeline: str, xml: str) -> list[bytes]:
        """One message as its fragments."""
        none = uuid.UUID(int=0)
        message = struct.pack("<II", 1, kind)
        message += (uuid.UUID(pool) if pool else none).bytes_le + (uuid.UUID(pipeline) if pipeline else none).bytes_le
        message += b"\xef\xbb\xbf" + xml.encode("utf-8")
        number, self._next = self._next, self._next + 1
        pieces = [message[i : i + PIECE] for i in range(0, len(message), PIECE)]
        return [
            struct.pack(">QQBI", number, at, (at == 0) | ((at + 1 == len(pieces)) << 1), len(piece)) + piece
            for at, piece in enumerate(pieces)
        ]


# ---------------------------------------------------------------------------------------------------- PowerShell's XML

_ODD = re.compile(r"_(?=x)|[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CODED = re.compile(r"_x([0-9A-Fa-f]{4})_")


def string(text: str) -> str:
    """A string object ([MS-PSRP] 2.2.5.3.2)."""
    return f"<S>{escape(_ODD.sub(lambda m: f'_x{ord(m[0]):04X}_', text))}</S>"


def capability() -> str:
    """SESSION_CAPABILITY of a Windows with PowerShell 5.1."""
    return (
        '<Obj RefId="0"><MS><Version N="protocolversion">2.3</Version><Version N="PSVersion">2.0</Version>'
        '<Version N="SerializationVersion">1.1.0.1</Version></MS></Obj>'
    )


def private_data() -> str:
    """APPLICATION_PRIVATE_DATA: the version table is what Windows puts there; nobody here reads it."""
    return (
        '<Obj RefId="0"><MS><Obj N="ApplicationPrivateData" RefId="1"><TN RefId="0">'
        "<T>System.Management.Automation.PSPrimitiveDictionary</T><T>System.Collections.Hashtable</T>"
        '<T>System.Object</T></TN><DCT><En><S N="Key">BashPrompt</S><Nil N="Value"/></En></DCT></Obj></MS></Obj>'
    )


def state(name: str, number: int, error: str = "") -> str:
    """RUNSPACEPOOL_STATE (`RunspaceState`) or PIPELINE_STATE (`PipelineState`)."""
    more = error.replace("<Obj ", '<Obj N="ExceptionAsErrorRecord" ', 1)
    return f'<Obj RefId="0"><MS><I32 N="{name}">{number}</I32>{more}</MS></Obj>'


def error_record(text: str, identifier: str) -> str:
    """An ERROR_RECORD, as short as PowerShell's own reader takes it ([MS-PSRP] 2.2.3.15)."""
    said = string(text).replace("<S>", '<S N="Message">', 1)
    full = string(identifier).replace("<S>", '<S N="FullyQualifiedErrorId">', 1)
    return (
        '<Obj RefId="1"><TN RefId="9"><T>System.Management.Automation.ErrorRecord</T><T>System.Object</T></TN>'
        f"<ToString>{escape(text)}</ToString><MS>"
        f'<Obj N="Exception" RefId="2"><TN RefId="8"><T>System.Exception</T><T>System.Object</T></TN>'
        f"<ToString>{escape(text)}</ToString><Props>{said}</Props></Obj>"
        f'<Nil N="TargetObject"/>{full}<Nil N="InvocationInfo"/><I32 N="ErrorCategory_Category">7</I32>'
        '<S N="ErrorCategory_Activity"></S><S N="ErrorCategory_Reason">Exception</S>'
        '<S N="ErrorCategory_TargetName"></S><S N="ErrorCategory_TargetType"></S>'
        f'<S N="ErrorCategory_Message">{escape(text)}</S><B N="SerializeExtendedInfo">false</B></MS></Obj>'
    )


def warning(text: str) -> str:
    """A WARNING_RECORD ([MS-PSRP] 2.2.2.24)."""
    return (
        '<Obj RefId="0"><TN RefId="0"><T>System.Management.Automation.WarningRecord</T><T>System.Object</T></TN>'
        f'<ToString>{escape(text)}</ToString><MS><S N="InformationalRecord_Message">{escape(text)}</S>'
        '<B N="InformationalRecord_SerializeInvocationInfo">false</B></MS></Obj>'
    )


def script_of(xml: str) -> str:
    """The text of the script in a CREATE_PIPELINE. Raises ValueError where there is none."""
    root = ET.fromstring(xml)  # noqa: S314 - this is the stand-in; its client is ours
    commands = [e.text or "" for e in root.iter() if e.get("N") == "Cmd"]
    if not commands:
        raise ValueError("a pipeline without a command")
    units = _CODED.sub(lambda m: chr(int(m[1], 16)), commands[0])
    return units.encode("utf-16", "surrogatepass").decode("utf-16")


def contents(body: ET.Element) -> bytes:
    """The fragments that a request carries, wherever its action puts them."""
    out = b""
    for element in body.iter():
        if element.tag in (f"{{{NS['ps']}}}creationXml", f"{{{NS['rsp']}}}Arguments", f"{{{NS['rsp']}}}Stream"):
            out += base64.b64decode(element.text or "")
    return out


def batches(fragments: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Fragments in as few answers as `most` bytes each allow."""
    out = b""
    for fragment in fragments:
        if out and len(out) + len(fragment) > most:
            yield out
            out = b""
        out += fragment
    if out:
        yield out
