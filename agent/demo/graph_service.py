"""Answers one request to the stand-in for Microsoft Graph: no sockets here, so a `$batch` item is a request too."""

from __future__ import annotations

import random
import re
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.demo import graph_query, graph_rules, graph_writes
from agent.demo.graph_data import OBJECT_TYPES, Json, TenantData
from agent.demo.graph_faults import Fault, Faults
from agent.demo.graph_rules import GraphRefused, Route

MOST_IN_BATCH = 20
MOST_IDS = 1000
# One request a second for the tenant, all apps together, and no Retry-After (Microsoft's throttling limits).
_SLOW_PATHS = ("/identity/conditionalAccess", "/identityProtection/riskyUsers")
# Kept as they are in the path of a next link.
_SAFE = "/()=',@$"
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(slots=True)
class Request:
    """One request: `path` is decoded and carries the version; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Any
    base: str
    client_id: str = ""
    roles: tuple[str, ...] = ()
    in_batch: bool = False

    @property
    def target(self) -> str:
        """`path?query`, decoded: what faults are matched with."""
        query = urllib.parse.unquote_plus(self.query)
        return f"{self.path}?{query}" if query else self.path


@dataclass(slots=True)
class Reply:
    """One answer. `body` is JSON (dict or list), text as is, or None for nothing; the rest spoils it on the wire."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One request that was answered. `query` is decoded; `headers` are without Authorization."""

    method: str
    path: str
    query: str
    status: int
    client_id: str = ""
    in_batch: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Settings:
    """How the service behaves; may be changed while it runs.

    `page_size`: items a page at most (Graph's own pages are larger; two finds a client that does not follow).
    `empty_first`: pattern of paths whose first page is empty and has a next link. `slow_bucket`: one request per
    `slow_interval` seconds for conditional access and risky users. `seed`: order of answers in a batch.
    `latency`: seconds that each exchange takes on the way, a batch as much as a single request.
    """

    page_size: int = 2
    empty_first: str = ""
    slow_bucket: bool = False
    slow_interval: float = 1.0
    seed: int = 1
    latency: float = 0.0


class GraphService:
    """Microsoft Graph for one tenant, without the network."""

    def __init__(self, tenant: TenantData, faults: Faults, settings: Settings) -> None:
        self.tenant, self.faults, self.settings = tenant, faults, settings
        self.log: list[LogEntry] = []
        self._random = random.Random(settings.seed)
        self._slow_until = 0.0
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Reply:
        """Answer a request whose token is good, and log it."""
        fault = self.faults.take(request.method, request.target)
        if fault and fault.replaces:
            reply = Reply(fault.status or 200, fault.body, dict(fault.headers))
        else:
            try:
                reply = self._plain_answer(request)
            except GraphRefused as refused:
                reply = Reply(refused.status, refused.body(request.headers.get("client-request-id", "")))
        if fault:
            _spoil(reply, fault)
        self.note(request, reply.status)
        return reply

    def note(self, request: Request, status: int) -> None:
        """Add a request to the log."""
        headers = {key: value for key, value in request.headers.items() if key != "authorization"}
        query = urllib.parse.unquote_plus(request.query)
        entry = LogEntry(request.method, request.path, query, status, request.client_id, request.in_batch, headers)
        with self._lock:
            self.log.append(entry)

    def _plain_answer(self, request: Request) -> Reply:
        version, _, rest = request.path.lstrip("/").partition("/")
        if version not in ("v1.0", "beta"):
            raise GraphRefused(400, "BadRequest", f"Invalid version: {version}")
        path = f"/{rest}"
        if path == "/$batch":
            return self._batch(request, version)
        if path == "/directoryObjects/getByIds" and request.method == "POST":
            return Reply(200, self._by_ids(request))
        if path.startswith(_SLOW_PATHS):
            self._slow_down()
        if request.method != "GET":
            with self._lock:
                return Reply(*graph_writes.change(self.tenant, request.method, path, request.body, request.roles))
        found = graph_rules.route(path, beta=version == "beta")
        query = graph_query.parse(request.query)
        graph_rules.check_permission(found, request.roles, query.select)
        graph_rules.check_licence(found, self.tenant, query.select)
        self._check_user(found, query)
        graph_query.check(query, found.type, request.headers.get("consistencylevel", ""))
        graph_rules.check_top(found, query.top, query.select)
        body = self._read(request, path, found, query, version)
        if "include-unknown-enum-members" not in request.headers.get("prefer", ""):
            body = graph_rules.conceal_newer(body)
        return Reply(200, body)

    def _read(self, request: Request, path: str, found: Route, query: graph_query.Query, version: str) -> Json:
        held = self._held(path, found)

        def follow(item: Json, name: str) -> Any:
            return self._follow(item, name, request.roles)

        context = f"{request.base}/{version}/$metadata#{path.lstrip('/')}"
        if not found.collection:
            if not isinstance(held, dict):
                raise _absent(path)
            return {"@odata.context": f"{context}/$entity", **graph_query.shape(held, found.type, query, follow)}
        items = held if isinstance(held, list) else []
        if found.type == "directoryObject":
            items = [_limited(item, request.roles) for item in items]
        pager = graph_query.Pager(
            self.settings.page_size,
            bool(self.settings.empty_first and re.search(self.settings.empty_first, path)),
        )
        unpaged = found.template in graph_rules.UNPAGED
        link = f"{request.base}/{version}{urllib.parse.quote(path, safe=_SAFE)}"
        page = graph_query.answer_list(items, found.type, query, None if unpaged else pager, link, follow)
        return {"@odata.context": context, **page}

    def _held(self, path: str, found: Route) -> list[Json] | Json | None:
        """What the tenant keeps at a path: a list, one object, or None where there is no such object."""
        if path == "/subscribedSkus":
            return self.tenant.licences
        if path in self.tenant.collections:
            return self.tenant.collections[path]
        if path == "/directoryRoles":
            return self._directory_roles()
        if path.startswith("/policies/authenticationMethodsPolicy/"):
            policy = self.tenant.objects("/policies/authenticationMethodsPolicy")[0]
            name = path.rpartition("/")[2]
            return next((m for m in policy["authenticationMethodConfigurations"] if m["id"] == name), None)
        if not found.ids:
            return [] if found.collection else None
        head, _, name = found.template.rpartition("/")
        if name == "{id}":
            return self._one(head, found.ids[-1])
        owner_path = head.removesuffix("/{id}")
        owner = self._one(owner_path, found.ids[0])
        if owner is None:
            raise _absent(path)
        match found.template:
            case "/users/{id}/licenseDetails":
                return self._licence_details(owner)
            case "/groups/{id}/transitiveMembers":
                return _typed(self.tenant.members(owner, transitive=True))
            case "/groups/{id}/members" | "/directory/administrativeUnits/{id}/members":
                return _typed(self.tenant.members(owner, transitive=False))
            case "/directoryRoles/{id}/members":
                return self._role_members(owner["roleTemplateId"])
            case "/education/schools/{id}/users":
                return [user for user in self.tenant.objects("/education/users") if owner["id"] in user["schools"]]
        followed: list[Json] | Json | None = self._follow(owner, name, None)
        return followed if followed is not None or not found.collection else []

    def _one(self, path: str, identifier: str) -> Json | None:
        """An object by its id; a user by UPN too, a directory role by either of its ids."""
        items = self._directory_roles() if path == "/directoryRoles" else self.tenant.objects(path)
        wanted = identifier.casefold()
        for item in items:
            keys = (item.get("id"), item.get("userPrincipalName") if path == "/users" else None, item.get("tenantId"))
            if any(isinstance(key, str) and key.casefold() == wanted for key in keys):
                return item
        return None

    def _follow(self, item: Json, name: str, roles: tuple[str, ...] | None) -> Any:
        """What a navigation property of an object leads to; `roles` None shows everything."""
        held = item.get(name)
        if name == "principal" and held is None:
            found = self.tenant.find(item.get("principalId", ""))
            if found is None:
                return None
            shown = {"@odata.type": found[0], **found[1]}
            return shown if roles is None else _limited(shown, roles)
        if name == "roleDefinition":
            return self._one("/roleManagement/directory/roleDefinitions", item.get("roleDefinitionId", ""))
        if name == "administrativeUnit" and isinstance(held, str):
            return self._one("/directory/administrativeUnits", held)
        if isinstance(held, list):
            resolved = []
            for each in held:
                found = self.tenant.find(each) if isinstance(each, str) else None
                if found is not None:
                    shown = {"@odata.type": found[0], **found[1]}
                    resolved.append(shown if roles is None or name == "schools" else _limited(shown, roles))
                elif isinstance(each, dict):
                    resolved.append(each)
            return resolved
        return held

    def _directory_roles(self) -> list[Json]:
        """Roles that somebody holds for the whole tenant, as /directoryRoles knows them."""
        held = {
            item["roleDefinitionId"]
            for item in self.tenant.objects("/roleManagement/directory/roleAssignments")
            if item["directoryScopeId"] == "/"
        }
        return [
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, self.tenant.tenant_id + role["id"])),
                "displayName": role["displayName"],
                "description": role.get("description", ""),
                "roleTemplateId": role["id"],
            }
            for role in self.tenant.objects("/roleManagement/directory/roleDefinitions")
            if role["id"] in held
        ]

    def _role_members(self, role_id: str) -> list[Json]:
        # A group that holds a role is shown as one member, and its people are not (as in Graph).
        holders = [
            self.tenant.find(item["principalId"])
            for item in self.tenant.objects("/roleManagement/directory/roleAssignments")
            if item["roleDefinitionId"] == role_id and item["directoryScopeId"] == "/"
        ]
        return _typed(filter(None, holders))

    def _licence_details(self, user: Json) -> list[Json]:
        skus = {sku["skuId"]: sku for sku in self.tenant.licences}
        return [
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, user["id"] + licence["skuId"])),
                **{key: skus[licence["skuId"]][key] for key in ("skuId", "skuPartNumber", "servicePlans")},
            }
            for licence in user.get("assignedLicenses", [])
            if licence["skuId"] in skus
        ]

    def _by_ids(self, request: Request) -> Json:
        body = request.body if isinstance(request.body, dict) else {}
        ids, types = body.get("ids", []), body.get("types") or []
        if not isinstance(ids, list) or not ids or len(ids) > MOST_IDS:
            raise GraphRefused(400, "Request_BadRequest", f"Between 1 and {MOST_IDS} ids are allowed.")
        if "Directory.Read.All" not in request.roles:
            raise GraphRefused(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
        found = [self.tenant.find(each, [path for path in OBJECT_TYPES if "education" not in path]) for each in ids]
        return {
            "@odata.context": f"{request.base}/v1.0/$metadata#directoryObjects",
            "value": [
                {"@odata.type": kind, **graph_query.shape(item, kind.rpartition(".")[2], graph_query.Query(), _nothing)}
                for kind, item in filter(None, found)
                if not types or kind.rpartition(".")[2] in types
            ],
        }

    def _check_user(self, found: Route, query: graph_query.Query) -> None:
        if found.template == "/users/{id}" and "signInActivity" in query.select and not _GUID.fullmatch(found.ids[0]):
            raise GraphRefused(400, "BadRequest", "Get By Key only supports UserId and the key has to be a valid Guid")
        refused = graph_rules.NOT_ON_LISTS & set(query.select)
        if found.template == "/users" and refused:
            raise GraphRefused(501, "NotImplemented", f"This operation target is not yet supported: {min(refused)}.")

    def _slow_down(self) -> None:
        if not self.settings.slow_bucket:
            return
        with self._lock:
            now = time.monotonic()
            if now < self._slow_until:
                raise GraphRefused(429, "TooManyRequests", "Too Many Requests")
            self._slow_until = now + self.settings.slow_interval

    def _batch(self, request: Request, version: str) -> Reply:
        items = request.body.get("requests") if isinstance(request.body, dict) else None
        if request.method != "POST" or not isinstance(items, list) or not items:
            raise GraphRefused(400, "BadRequest", "Invalid batch payload format.")
        if len(items) > MOST_IN_BATCH:
            raise GraphRefused(
                400, "BadRequest", f"Number of batch request steps exceeds the maximum value of {MOST_IN_BATCH}."
            )
        malformed = any(
            not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("id", "method", "url"))
            for item in items
        )
        if malformed or len({item["id"] for item in items}) != len(items):
            raise GraphRefused(400, "BadRequest", "Each request in a batch needs a method, a url and an id of its own.")
        statuses: dict[str, int] = {}
        answers = []
        for item in items:
            answer = self._batch_item(request, version, item, statuses)
            statuses[item["id"]] = answer["status"]
            answers.append(answer)
        order = [answer["id"] for answer in answers]
        while len(answers) > 1 and [answer["id"] for answer in answers] == order:
            self._random.shuffle(answers)
        return Reply(200, {"responses": answers})

    def _batch_item(self, request: Request, version: str, item: Json, statuses: Mapping[str, int]) -> Json:
        if any(statuses.get(needed, 424) >= 400 for needed in item.get("dependsOn", [])):
            refused = GraphRefused(424, "FailedDependency", "A request that this one depends on has failed.")
            return {"id": item["id"], "status": 424, "headers": {}, "body": refused.body("")}
        path, _, query = item["url"].partition("?")
        headers = {str(key).lower(): str(value) for key, value in (item.get("headers") or {}).items()}
        inner = Request(
            method=item["method"].upper(),
            path=f"/{version}/{urllib.parse.unquote(path).lstrip('/')}",
            query=query,
            headers=headers,
            body=item.get("body"),
            base=request.base,
            client_id=request.client_id,
            roles=request.roles,
            in_batch=True,
        )
        reply = self.answer(inner)
        return {
            "id": item["id"],
            "status": reply.status,
            "headers": {"Content-Type": "application/json", **reply.headers},
            "body": reply.body,
        }


def _spoil(reply: Reply, fault: Fault) -> None:
    """Apply to an answer what a fault does without replacing it."""
    reply.cut, reply.delay = fault.cut, fault.delay
    reply.headers.update(fault.headers)
    if fault.next_link is not None and isinstance(reply.body, dict):
        reply.body["@odata.nextLink"] = fault.next_link


def _typed(found: Iterable[tuple[str, Json]]) -> list[Json]:
    """Directory objects of several kinds, each with its kind."""
    return [{"@odata.type": kind, **item} for kind, item in found]


def _limited(item: Json, roles: tuple[str, ...]) -> Json:
    """An object as an app sees it that may know that it is there, but may not read its kind: all null but the id."""
    wanted = graph_rules.READABLE_WITH.get(item.get("@odata.type", ""))
    if wanted is None or wanted & set(roles):
        return item
    return {key: value if key in ("id", "@odata.type") else None for key, value in item.items()}


def _absent(path: str) -> GraphRefused:
    name = path.rpartition("/")[2]
    return GraphRefused(
        404,
        "Request_ResourceNotFound",
        f"Resource '{name}' does not exist or one of its queried reference-property objects are not present.",
    )


def _nothing(_item: Json, _name: str) -> Any:
    return None
