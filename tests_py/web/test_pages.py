"""The pages as a program sees them: who may see them, what they send along, what they never do."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from uuid import uuid4

import pytest

from tests_py.web.conftest import PASSWORD, Site, hidden


def test_without_a_sign_in(site: Site) -> None:
    asked = site.ask()
    with site.client() as client:
        for path in ("/", asked.path, "/events", f"{asked.path}/events"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert client.post(asked.path, data={"decision": "approved"}).status_code == 303
    assert site.outcome(asked)[0] == "waiting"


@pytest.mark.parametrize(("name", "password"), [("manager", "wrong"), ("nobody", PASSWORD), ("", "")])
def test_a_wrong_password(site: Site, name: str, password: str) -> None:
    with site.client() as client:
        csrf = hidden(client.get("/sign-in").text, "csrf")
        answer = client.post("/sign-in", data={"csrf": csrf, "name": name, "password": password})
        assert answer.status_code == 401
        assert client.get("/").status_code == 303


def test_sign_out(site: Site) -> None:
    with site.approver() as client:
        csrf = hidden(client.get("/").text, "csrf")
        assert client.post("/sign-out", data={"csrf": csrf}).status_code == 303
        assert client.get("/").status_code == 303


def test_a_form_of_another_site(site: Site) -> None:
    """Without this session's secret nothing is sent."""
    asked = site.ask()
    with site.approver() as client, site.approver("deputy") as other:
        theirs = hidden(other.get(asked.path).text, "csrf")
        for csrf in ({}, {"csrf": ""}, {"csrf": theirs}):
            assert client.post(asked.path, data={**csrf, "decision": "approved", "form_id": "f"}).status_code == 403
    assert site.outcome(asked)[0] == "waiting"


def test_an_answer_has_who_and_why(site: Site) -> None:
    asked = site.ask()
    with site.approver() as client:
        form = client.get(asked.path).text
        fields = {name: hidden(form, name) for name in ("csrf", "form_id")}
        comment = '<script>alert("x")</script>\r\nGrüße, 東京'
        done = client.post(asked.path, data={**fields, "decision": "approved", "comment": comment})
        assert done.status_code == 200
        assert "Your answer is recorded." in done.text
        assert "<script>alert" not in done.text
        assert site.payload(asked) == {
            "decision": "approved",
            "by": "manager",
            "comment": comment.replace("\r\n", "\n"),
        }
        again = client.post(asked.path, data={**fields, "decision": "approved", "comment": comment})
        assert (again.status_code, "It counted once." in again.text) == (200, True)
        changed = client.post(asked.path, data={**fields, "decision": "rejected"})
        assert (changed.status_code, "The first answer stands." in changed.text) == (409, True)
    assert site.outcome(asked)[:2] == ("approved", "manager")


@pytest.mark.parametrize("fields", [{}, {"decision": "maybe"}, {"decision": "approved", "comment": "x" * 501}])
def test_a_form_that_nobody_was_given(site: Site, fields: dict[str, str]) -> None:
    asked = site.ask()
    with site.approver() as client:
        csrf = hidden(client.get(asked.path).text, "csrf")
        assert client.post(asked.path, data={"csrf": csrf, "form_id": "f", **fields}).status_code == 400
        assert client.post(asked.link, data=fields).status_code == 400
        assert client.post(asked.link, data={"comment": "x" * 20_000}).status_code == 413
    assert site.outcome(asked)[0] == "waiting"


def test_a_get_never_redeems(site: Site) -> None:
    """Mail scanners follow links, and ask for the head only."""
    asked = site.ask()
    with site.client() as client:
        for _ in range(3):
            assert client.get(asked.link).status_code == 200
            assert client.head(asked.link).status_code == 200
        assert client.get(f"{asked.link}?decision=approved").status_code == 200
        assert site.outcome(asked)[0] == "waiting"
        assert client.post(asked.link, data={"decision": "approved"}).status_code == 200
    assert site.outcome(asked)[:2] == ("approved", "Finance, by link")


def test_links_that_are_void(site: Site) -> None:
    asked, removed = site.ask(), site.ask()
    site.engine.execute("SELECT flow_signal_v1.revoke_tokens(%s, 'approve')", [asked.run_id])
    site.engine.execute("SELECT flow_signal_v1.remove_waiter(%s, 'approve')", [removed.run_id])
    with site.client() as client:
        for link in (asked.link, removed.link):
            page = client.get(link)
            assert (page.status_code, "No longer waiting" in page.text) == (200, True)
            assert "<form" not in page.text
            answer = client.post(link, data={"decision": "approved"})
            assert (answer.status_code, "Your answer was not used." in answer.text) == (409, True)
        for link in (f"{asked.link[:-1]}x", "/t/x", f"/t/{'x' * 5000}"):
            assert client.get(link).status_code == 404
            assert client.post(link, data={"decision": "approved"}).status_code == 404
    assert site.outcome(asked)[0] == "waiting"


def test_an_answer_that_is_too_late(site: Site) -> None:
    asked = site.ask(patience=timedelta(0))
    with site.client() as client:
        answer = client.post(asked.link, data={"decision": "approved"})
        assert (answer.status_code, "Too late" in answer.text) == (409, True)


def test_headers(site: Site) -> None:
    asked = site.ask()
    with site.approver() as client:
        for path in ("/", asked.path, asked.link, "/sign-in", "/nowhere", "/t/x"):
            headers = client.get(path).headers
            assert "script-src 'self'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers
        text = client.get(asked.path).text
        assert not re.search(r"<script(?! src=)|\son\w+=|style=", text)
    with site.client() as client:
        cookie = client.get("/sign-in").headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie


def test_the_desk_has_pages_and_a_filter(site: Site) -> None:
    kind = f"kind {uuid4()}"
    titles = [site.ask(title=f"Number {number:02}", signal_name=kind).title for number in range(19)]
    with site.approver() as client:
        found, path = [], f"/?signal={kind}"
        for page in range(3):
            text = client.get(path).text
            found.append(re.findall(r">(Number \d\d)<", text))
            assert ("First page" in text) == (page > 0)
            following = re.search(r'rel="next" href="([^"]*)"', text)
            path = following[1].replace("&amp;", "&") if following else ""
        assert path == ""
        assert [len(names) for names in found] == [8, 8, 3]
        assert [title for names in found for title in names] == titles
        assert client.get("/?after=nonsense").status_code == 404
        assert client.get(f"/approvals/{uuid4()}/approve").status_code == 404


def test_no_log_has_a_token_or_an_answer(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked = site.ask()
    with site.approver() as client:
        client.get(asked.link)
        client.post(asked.link, data={"decision": "approved", "comment": "Confidential!"})
        client.post(asked.link, data={"decision": "rejected", "comment": "Confidential!"})
        client.post(f"/signals/{asked.run_id}/go", content=b'"Confidential!"')
    own = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert [record.getMessage() for record in own if "POST redeem 200" in record.getMessage()]
    said = " ".join(record.getMessage() + str(record.exc_info) for record in own)
    assert asked.token not in said
    assert asked.token[40:60] not in said
    assert "Confidential" not in said
