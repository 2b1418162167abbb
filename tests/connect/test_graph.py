"""The Graph connector against the stand-in server: sign-in, pages, waits, refusals, and servers that lie."""

from __future__ import annotations

import dataclasses
import email.utils
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.connect.graph import open_graph
from agent.connect.graph_answers import judge, retry_after, split_pem, token_error
from agent.connect.graph_reader import Clock
from agent.demo.certs import CertificateAuthority, issue, make_app_certificate, make_ca
from agent.demo.graph_data import Client, TenantData
from agent.demo.graph_server import GraphServer
from agent.errors import Broken, CredentialRefused, IdentityError, Unreachable
from agent.facts.m365.protocol import Answer, Graph, Option, Request
from agent.facts.protocol import Limits
from agent.model import Kind, Partial, Reason, Target, Unknown

TENANT, APP, POOR = "11111111-2222-3333-4444-555555555555", "app-full", "app-poor"
USERS = Request("/users", "User.Read.All", ("id", "userPrincipalName"), top=100)
DOMAINS = Request("/domains", "Domain.Read.All")
POLICIES = Request("/identity/conditionalAccess/policies", "Policy.Read.All", slow=True)
ORGANIZATION = Request("/organization", "Organization.Read.All")
ALL = [
    "User.Read.All",
    "Domain.Read.All",
    "Policy.Read.All",
    "Organization.Read.All",
    "AuditLog.Read.All",
    "LicenseAssignment.Read.All",
    "DeviceManagementManagedDevices.Read.All",
    "Group.Read.All",
    "RoleEligibilitySchedule.Read.Directory",
    "SharePointTenantSettings.Read.All",
    "IdentityRiskyUser.Read.All",
]


def tenant() -> TenantData:
    users = [
        {"id": f"0000000{n}-0000-0000-0000-000000000000", "userPrincipalName": f"u{n}@x.example"} for n in range(5)
    ]
    return TenantData(
        TENANT,
        {APP: Client(secret="right", roles=list(ALL)), POOR: Client(secret="poor", roles=[])},
        [],
        {
            "/users": users,
            "/domains": [{"id": f"d{n}.example", "isVerified": True} for n in range(3)],
            "/identity/conditionalAccess/policies": [],
            "/organization": [{"id": TENANT}],
        },
    )


@dataclasses.dataclass
class FakeClock:
    """Sleeps are noted and not slept."""

    offset: float = 0.0
    slept: list[float] = dataclasses.field(default_factory=list)

    def now(self) -> float:
        return time.monotonic() + self.offset

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.offset += seconds


@dataclasses.dataclass
class Lab:
    server: GraphServer
    ca: CertificateAuthority
    clock: FakeClock = dataclasses.field(default_factory=FakeClock)

    def target(self, client: str = APP, **more: Any) -> Target:
        settings = {
            "tenant_id": TENANT,
            "client_id": client,
            "secret": "env:SECRET",
            "authority": self.server.authority,
            "graph_url": self.server.url,
            "ca_file": str(self.ca.cert_path),
        }
        return Target("t", Kind.TENANT, "m365", None, {**settings, **more})

    @contextmanager
    def open(self, secret: str = "right", limits: Limits | None = None, **more: Any) -> Iterator[Graph]:
        clock = Clock(self.clock.now, self.clock.sleep)
        with open_graph(self.target(**more), lambda _: secret, limits or Limits(), clock=clock) as graph:
            yield graph

    def read(self, *requests: Request, **more: Any) -> list[Answer]:
        with self.open(**more) as graph:
            return graph.get(requests)

    def asked(self, path: str) -> list[Any]:
        return [entry for entry in self.server.log if entry.path == f"/v1.0{path}"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[CertificateAuthority, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("graph")
    ca = make_ca(folder, "Stand-in authority")
    return ca, issue(folder, ca, ["localhost"], ["127.0.0.1"])


@pytest.fixture
def lab(certificates: tuple[CertificateAuthority, tuple[Path, Path]]) -> Iterator[Lab]:
    ca, pair = certificates
    with GraphServer(tenant(), pair) as server:
        yield Lab(server, ca)
    assert server.errors == []


def reason(answer: Answer) -> tuple[Reason, str]:
    assert isinstance(answer.value, Unknown), answer
    return answer.value.reason, answer.value.detail


def test_reads_all_pages_and_repeats_headers(lab: Lab) -> None:
    request = dataclasses.replace(USERS, headers=(("ConsistencyLevel", "eventual"),))
    (answer,) = lab.read(request)
    assert [u["userPrincipalName"] for u in answer.value] == [f"u{n}@x.example" for n in range(5)]
    assert len(answer.request_ids) == 3
    pages = lab.asked("/users")
    assert len(pages) == 3
    assert all(p.headers["consistencylevel"] == "eventual" and p.headers["client-request-id"] for p in pages)


def test_an_empty_page_is_not_the_end(lab: Lab) -> None:
    lab.server.settings.empty_first = "^/users"
    assert len(lab.read(USERS)[0].value) == 5


def test_small_reads_travel_in_one_batch_with_pages_followed(lab: Lab) -> None:
    users, domains, organization = lab.read(USERS, DOMAINS, ORGANIZATION)
    assert (len(users.value), len(domains.value), len(organization.value)) == (5, 3, 1)
    assert len(lab.asked("/$batch")) == 1


def test_more_than_twenty_requests_take_two_batches(lab: Lab) -> None:
    answers = lab.read(*[dataclasses.replace(DOMAINS, top=n) for n in range(1, 24)])
    assert all(len(a.value) == 3 for a in answers)
    assert len(lab.asked("/$batch")) == 2


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("3", 3, 3), ("0.249", 0.249, 0.249), (None, 2, 2.5), ("nonsense", 2, 2.5)],
)
def test_waits_as_long_as_asked(lab: Lab, header: str | None, least: float, most: float) -> None:
    lab.server.faults.throttle("/domains", retry_after=header)
    assert len(lab.read(DOMAINS)[0].value) == 3
    assert len(lab.clock.slept) == 1
    assert least <= lab.clock.slept[0] <= most


def test_waits_until_an_http_date(lab: Lab) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=7)
    lab.server.faults.throttle("/domains", retry_after=email.utils.format_datetime(moment, usegmt=True))
    assert len(lab.read(DOMAINS)[0].value) == 3
    assert 4 < lab.clock.slept[0] <= 7


def test_growing_pauses_then_unknown(lab: Lab) -> None:
    lab.server.faults.throttle("/domains", times=99)
    answer = lab.read(DOMAINS)[0]
    assert reason(answer) == (Reason.THROTTLED, "Graph keeps answering 429")
    assert len(lab.asked("/domains")) == 5
    assert [round(s) // 2 for s in lab.clock.slept] == [1, 2, 4, 8]


def test_a_wait_longer_than_the_scan_is_not_begun(lab: Lab) -> None:
    lab.server.faults.throttle("/domains", retry_after="3600", times=99)
    assert reason(lab.read(DOMAINS)[0])[0] is Reason.THROTTLED
    assert lab.clock.slept == []


def test_throttled_items_of_a_batch_travel_again_together_and_alone(lab: Lab) -> None:
    lab.server.faults.throttle("/domains", retry_after="4")
    lab.server.faults.throttle("/organization", retry_after="3.5")
    users, domains, organization = lab.read(USERS, DOMAINS, ORGANIZATION)
    assert (len(users.value), len(domains.value), len(organization.value)) == (5, 3, 1)
    assert lab.clock.slept == [4.0]
    assert len(lab.asked("/$batch")) == 2
    assert len(lab.asked("/domains")) == 3  # refused, its two pages
    assert len(lab.asked("/users")) == 3  # its three pages, none of them twice


def test_an_item_that_stays_throttled_is_unknown_and_costs_no_other(lab: Lab) -> None:
    lab.server.faults.throttle("/organization", times=99)
    users, organization = lab.read(USERS, ORGANIZATION)
    assert len(users.value) == 5
    assert reason(organization)[0] is Reason.THROTTLED
    assert len(lab.asked("/organization")) == 5


def test_a_pause_that_graph_asks_for_holds_for_the_whole_workload(lab: Lab) -> None:
    other = Request("/users", "AuditLog.Read.All", ("id", "userType"), top=50)
    lab.server.faults.throttle(r"/users.*skiptoken", retry_after="7", times=2)
    first, second = lab.read(USERS, other)
    assert len(first.value) == len(second.value) == 5
    assert sum(lab.clock.slept) <= 14.1


def test_lists_do_not_wait_for_one_another(lab: Lab) -> None:
    lab.server.faults.add(r"/users.*skiptoken", times=1, delay=1.0)
    told: list[str] = []

    def more(request: Request, answer: Answer) -> list[Request]:
        told.append(request.path)
        return []

    with lab.open() as graph:
        graph.get([USERS, DOMAINS], more)
    assert told == ["/domains", "/users"]


def test_what_follows_from_an_answer_is_asked_for_while_others_are_still_read(lab: Lab) -> None:
    lab.server.faults.add(r"/users.*skiptoken", times=1, delay=1.0)
    told: list[str] = []

    def more(request: Request, answer: Answer) -> list[Request]:
        told.append(request.path)
        return [ORGANIZATION, DOMAINS] if request == DOMAINS else []

    with lab.open() as graph:
        answers = graph.get([USERS, DOMAINS], more)
    assert [len(a.value) for a in answers] == [5, 3]
    assert told == ["/domains", "/organization", "/users"]  # each once


def test_one_token_for_all_that_find_the_old_one_refused(lab: Lab) -> None:
    with lab.open() as graph:
        lab.server.tokens.revoke()
        answers = graph.get([USERS, DOMAINS, POLICIES])
    assert [len(a.value) for a in answers] == [5, 3, 0]
    assert len([e for e in lab.server.log if e.path.endswith("/token")]) == 2


def test_conditional_access_is_read_once_a_second(lab: Lab) -> None:
    locations = Request("/identity/conditionalAccess/namedLocations", "Policy.Read.All", slow=True)
    lab.server.settings.slow_bucket = True
    with open_graph(lab.target(), lambda _: "right", Limits()) as graph:
        started = time.monotonic()
        answers = graph.get([POLICIES, locations])
    assert [a.value for a in answers] == [[], []]
    assert time.monotonic() - started >= 1.0
    assert [e.status for e in lab.server.log if "conditionalAccess" in e.path] == [200, 200]


def test_a_missing_permission_is_unknown_and_named(lab: Lab) -> None:
    answers = lab.read(USERS, DOMAINS, POLICIES, client=POOR, secret="poor")
    assert [reason(a) for a in answers] == [
        (Reason.PERMISSION, "User.Read.All"),
        (Reason.PERMISSION, "Domain.Read.All"),
        (Reason.PERMISSION, "Policy.Read.All"),
    ]


def test_licence_refusals_are_told_from_permissions(lab: Lab) -> None:
    answers = lab.read(
        Request("/users", "AuditLog.Read.All", ("id", "signInActivity"), top=500),
        Request("/roleManagement/directory/roleEligibilityScheduleInstances", "RoleEligibilitySchedule.Read.Directory"),
        Request("/deviceManagement/managedDevices", "DeviceManagementManagedDevices.Read.All"),
        Request("/admin/sharepoint/settings", "SharePointTenantSettings.Read.All"),
        Request("/identityProtection/riskyUsers", "IdentityRiskyUser.Read.All", slow=True),
    )
    assert [reason(a) for a in answers] == [
        (Reason.NOT_LICENSED, "Entra ID P1"),
        (Reason.NOT_LICENSED, "Entra ID P2"),
        (Reason.NOT_LICENSED, "Intune"),
        (Reason.NOT_LICENSED, "SharePoint"),
        (Reason.NOT_LICENSED, ""),
    ]


def test_intunes_doubly_wrapped_refusal_is_a_missing_permission(lab: Lab) -> None:
    lab.server.faults.intune_error("/deviceManagement", times=9)
    right = "DeviceManagementManagedDevices.Read.All"
    assert reason(lab.read(Request("/deviceManagement/managedDevices", right))[0]) == (Reason.PERMISSION, right)


def test_never_follows_a_link_to_another_host(lab: Lab) -> None:
    lab.server.faults.add("/users", next_link="https://evil.example/v1.0/users?$skiptoken=x")
    with pytest.raises(Broken, match=r"another host \(evil\.example\)"):
        lab.read(USERS)
    lab.server.faults.add("/users", next_link=f"{lab.server.url}/v1.0/users".replace("https", "http"))
    with pytest.raises(Broken):
        lab.read(USERS)


def test_pages_in_a_ring_end(lab: Lab) -> None:
    lab.server.faults.add("/users", next_link=f"{lab.server.url}/v1.0/users", times=9)
    with pytest.raises(Broken, match="ring"):
        lab.read(USERS)


def test_a_web_filters_page_is_no_answer(lab: Lab) -> None:
    lab.server.faults.proxy_page("/domains", times=9)
    assert reason(lab.read(DOMAINS)[0]) == (
        Reason.UNREADABLE,
        "a web page came instead of Graph's answer (a web filter or proxy?)",
    )


def test_a_refusal_by_a_web_filter_blames_no_permission(lab: Lab) -> None:
    lab.server.faults.add(
        "/domains", status=403, headers={"Content-Type": "text/html"}, body="<html>Blocked</html>", times=9
    )
    assert reason(lab.read(DOMAINS)[0])[0] is Reason.UNREADABLE


def test_a_page_for_a_whole_batch_falls_back_to_single_reads(lab: Lab) -> None:
    lab.server.faults.proxy_page(r"/\$batch")
    users, domains = lab.read(USERS, DOMAINS)
    assert (len(users.value), len(domains.value)) == (5, 3)


def test_an_answer_cut_short_is_asked_for_again_then_unknown(lab: Lab) -> None:
    lab.server.faults.add("/domains", cut=20)
    assert len(lab.read(DOMAINS)[0].value) == 3
    lab.server.faults.add("/domains", cut=20, times=9)
    assert reason(lab.read(DOMAINS)[0]) == (Reason.TRUNCATED, "the answer was cut off")


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (502, 3), (503, 5)])
def test_server_errors_are_retried_then_unknown(lab: Lab, status: int, tries: int) -> None:
    lab.server.faults.add("/domains", status=status, body="", times=1)
    assert len(lab.read(DOMAINS)[0].value) == 3
    before = len(lab.asked("/domains"))
    lab.server.faults.add("/domains", status=status, body="", times=99)
    assert isinstance(lab.read(DOMAINS)[0].value, Unknown)
    assert len(lab.asked("/domains")) - before == tries


def test_504_halves_the_page_and_starts_again(lab: Lab) -> None:
    lab.server.faults.add(r"/users.*\$top=(100|50)\b", status=504, body="", times=9)
    assert len(lab.read(USERS)[0].value) == 5
    assert [e.query.rpartition("=")[2] for e in lab.asked("/users")[:3]] == ["100", "50", "25"]


def test_504_for_ever_is_unknown(lab: Lab) -> None:
    lab.server.faults.add("/users", status=504, body="", times=99)
    assert reason(lab.read(USERS)[0])[0] is Reason.TIMED_OUT


def test_a_list_that_breaks_off_is_partial(lab: Lab) -> None:
    lab.server.faults.add(r"/users.*skiptoken", status=500, body="", after=1, times=99)
    value = lab.read(USERS)[0].value
    assert isinstance(value, Partial)
    assert len(value.items) == 4
    assert value.why.reason is Reason.UNREADABLE


def test_permission_lost_between_pages_is_partial(lab: Lab) -> None:
    body = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges"}}
    lab.server.faults.add(r"/users.*skiptoken", status=403, body=body, times=99)
    value = lab.read(USERS)[0].value
    assert isinstance(value, Partial)
    assert value.why == Unknown(Reason.PERMISSION, "User.Read.All")


def test_a_revoked_token_is_renewed_once(lab: Lab) -> None:
    with lab.open() as graph:
        lab.server.tokens.revoke()
        assert len(graph.get([DOMAINS])[0].value) == 3
    lab.server.faults.add("/domains", status=401, body={"error": {"code": "InvalidAuthenticationToken"}}, times=9)
    with pytest.raises(CredentialRefused, match="also a fresh one"):
        lab.read(DOMAINS)


def test_time_and_bytes_are_bounded(lab: Lab) -> None:
    with lab.open(limits=Limits(seconds=50)) as graph:
        lab.clock.offset += 60
        assert reason(graph.get([DOMAINS])[0])[0] is Reason.TIMED_OUT
    assert reason(lab.read(DOMAINS, limits=Limits(bytes=50))[0])[0] is Reason.TRUNCATED


def test_a_404_is_absent_only_where_that_is_expected(lab: Lab) -> None:
    gone = Request("/groups/00000009-0000-0000-0000-000000000000", "Group.Read.All")
    assert reason(lab.read(gone)[0])[0] is Reason.UNREADABLE
    assert lab.read(dataclasses.replace(gone, absent_ok=True))[0].value is None


# Signing in


def test_a_wrong_secret_says_what_to_do(lab: Lab) -> None:
    with pytest.raises(CredentialRefused) as caught:
        lab.read(DOMAINS, secret="wrong")
    assert caught.value.message == "The client secret is wrong."
    assert "not its id" in caught.value.hint


def test_an_expired_secret_says_so(lab: Lab) -> None:
    lab.server.tenant.clients[APP].secret_expired = True
    with pytest.raises(CredentialRefused, match="secret has expired"):
        lab.read(DOMAINS)


def test_an_unknown_app(lab: Lab) -> None:
    with pytest.raises(CredentialRefused, match="client_id"):
        lab.read(DOMAINS, client="somebody-else")


def test_an_unknown_tenant(lab: Lab) -> None:
    with pytest.raises(CredentialRefused, match="no such tenant"):
        lab.read(DOMAINS, authority=f"{lab.server.url}/99999999-2222-3333-4444-555555555555")


def test_nothing_listens(lab: Lab) -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        lab.read(DOMAINS, authority=f"https://localhost:1/{TENANT}")
    with pytest.raises(Unreachable, match="Graph cannot be reached"):
        _graph_elsewhere(lab)


def _graph_elsewhere(lab: Lab) -> None:
    """Sign in, then find nothing at Graph's own address."""
    with lab.open() as graph:
        graph.base = "https://localhost:1/v1.0"  # type: ignore[attr-defined]
        graph.get([DOMAINS])


def test_an_untrusted_certificate_stops_before_the_secret(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_ca(tmp_path, "Another authority")
    # A bundle in the environment must not override what trust.yml says.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(lab.ca.cert_path))
    with pytest.raises(IdentityError, match="not trusted"):
        lab.read(DOMAINS, ca_file=str(other.cert_path))
    assert lab.server.log == []


def test_a_ca_file_that_is_not_there(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="ca_file"):
        lab.read(DOMAINS, ca_file=str(tmp_path / "none.pem"))


def test_a_busy_sign_in_service_is_asked_again(lab: Lab) -> None:
    lab.server.faults.add("oauth2/v2.0/token", status=503, body="", times=1)
    assert len(lab.read(DOMAINS)[0].value) == 3
    lab.server.faults.add("oauth2/v2.0/token", status=503, body="", times=9)
    with pytest.raises(Unreachable, match="busy"):
        lab.read(DOMAINS)


def test_a_web_filter_in_place_of_the_sign_in(lab: Lab) -> None:
    lab.server.faults.proxy_page("openid-configuration", times=9)
    with pytest.raises(Broken, match="could not be understood"):
        lab.read(DOMAINS)


def test_a_certificate_signs_in(lab: Lab, tmp_path: Path) -> None:
    certificate, key = make_app_certificate(tmp_path, "app")
    lab.server.tenant.clients[APP].certificate = certificate.read_text()
    pem = key.read_text() + certificate.read_text()
    (answer,) = lab.read(DOMAINS, secret=pem, certificate="file:app.pem")
    assert len(answer.value) == 3
    lab.server.tenant.clients[APP].certificate = make_app_certificate(tmp_path, "other")[0].read_text()
    with pytest.raises(CredentialRefused, match="certificate is not accepted"):
        lab.read(DOMAINS, secret=pem, certificate="file:app.pem")


def test_a_certificate_file_without_a_part(lab: Lab, tmp_path: Path) -> None:
    certificate, key = make_app_certificate(tmp_path, "app")
    with pytest.raises(CredentialRefused, match="no private key"):
        lab.read(DOMAINS, secret=certificate.read_text(), certificate="file:app.pem")
    with pytest.raises(CredentialRefused, match="no certificate"):
        split_pem(key.read_text())


def test_no_credential_at_all(lab: Lab) -> None:
    with pytest.raises(CredentialRefused, match="neither a secret nor a certificate"):
        _without_secret(lab)


def _without_secret(lab: Lab) -> None:
    target = lab.target()
    settings = {k: v for k, v in target.settings.items() if k != "secret"}
    with open_graph(dataclasses.replace(target, settings=settings), lambda _: "", Limits()):
        pass


# Pure parts


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5.0), ("0.25", 0.25), ("-3", 0.0), ("nan", None), ("", None), ("x", None)]
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}) == seconds


def test_odd_bodies_of_errors() -> None:
    bodies: list[Any] = [None, [], {"error": "text"}, {"error": {"code": None, "message": 5}}]
    for body in bodies:
        assert judge(403, body, DOMAINS) == Unknown(Reason.PERMISSION, "Domain.Read.All")
    assert judge(400, {"error": {"code": "Bad\x1b[31m"}}, DOMAINS) == Unknown(
        Reason.UNREADABLE, "Graph answers 400 (Bad [31m)"
    )
    with pytest.raises(CredentialRefused, match="conditional access"):
        judge(403, {"error": {"code": "insufficient_claims"}}, DOMAINS)


def test_unknown_sign_in_errors_keep_their_number() -> None:
    assert "AADSTS999999" in str(token_error("AADSTS999999: something new"))


def test_secrets_never_show(lab: Lab) -> None:
    secret: Callable[[str], str] = lambda _: "hunter2-secret"  # noqa: E731
    with pytest.raises(CredentialRefused) as caught, open_graph(lab.target(), secret, Limits()):
        pass
    assert "hunter2" not in f"{caught.value!r}{caught.value}{caught.value.__cause__}"


def test_only_the_first_page_where_that_is_enough(lab: Lab) -> None:
    (answer,) = lab.read(dataclasses.replace(USERS, top=1, first=True))
    assert len(answer.value) == 1
    assert len(lab.asked("/users")) == 1


BETA = Request("/deviceManagement/configurationPolicies", "DeviceManagementConfiguration.Read.All", option="beta")


@pytest.mark.parametrize("option", ["beta", "each_device"])
def test_what_was_not_switched_on_is_not_asked(lab: Lab, option: Option) -> None:
    users, other = lab.read(USERS, dataclasses.replace(BETA, option=option))
    assert len(users.value) == 5
    assert reason(other) == (Reason.BY_CHOICE, f"trust.yml does not set {option}: true for this tenant")
    assert not any("configurationPolicies" in e.path for e in lab.server.log)


def test_the_beta_is_asked_at_its_own_address(lab: Lab) -> None:
    data = lab.server.tenant
    data.clients[APP].roles.append(BETA.permission)
    data.licences.append({"servicePlans": [{"servicePlanName": "INTUNE_A", "provisioningStatus": "Success"}]})
    data.collections[BETA.path] = [{"id": "1", "name": "Disk", "isAssigned": True}]
    answers = lab.read(BETA, USERS, dataclasses.replace(BETA, top=5), beta=True)
    assert [len(a.value) for a in answers] == [1, 5, 1]
    assert {e.path for e in lab.server.log if "configurationPolicies" in e.path} == {f"/beta{BETA.path}"}
