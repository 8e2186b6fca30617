"""People at the desk and behind links, in real browsers."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests_py.web.browsers import Browser, Browsers
from tests_py.web.conftest import Site, hidden

ROUNDS = 50
DONE = "Your answer is recorded."
LIVE = "(the form is gone)"
GRACE_SECONDS = 15
OTHER = "Somebody else was faster. Your answer was not used."


def press(browser: Browser, decision: str, together: Barrier) -> str:
    """Press a button; return what the page says to it, or LIVE if it has said before that it is too late."""
    button = browser.find(f"button[value={decision}]")
    together.wait()
    try:
        button.click()
        browser.wait_for("answer", ".notice", seconds=GRACE_SECONDS)
    except (StaleElementReferenceException, TimeoutException):
        # The live page has shown the other answer, and taken the button away, just before the click.
        assert not browser.driver.find_elements(By.CSS_SELECTOR, "main form")
        return LIVE
    return browser.text(".notice")


@pytest.mark.time_limit(1800)
@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without"])
def test_two_approvers_at_the_same_moment(site: Site, browsers: Browsers, javascript: bool) -> None:
    """One answer counts; the other one is told whose, whether the worker was faster than its request or not."""
    pair = [browsers.approver(name, javascript=javascript) for name in ("manager", "deputy")]
    together = Barrier(2)
    firsts = []
    kinds: Counter[str] = Counter()
    with ThreadPoolExecutor(2) as threads, site.worker():
        for number in range(ROUNDS):
            asked = site.ask(title=f"Purchase {number}")
            for browser in pair:
                browser.open(asked.path)
            presses = [
                threads.submit(press, browser, decision, together)
                for browser, decision in zip(pair, ("approved", "rejected"), strict=True)
            ]
            told = [each.result() for each in presses]
            assert sorted(told) in ([OTHER, DONE], [LIVE, DONE] if javascript else [])
            kinds.update(told)
            first = told.index(DONE)
            firsts.append(first)
            state, by, _ = site.outcome(asked)
            assert (state, by) == [("approved", "manager"), ("rejected", "deputy")][first]
            for browser in pair:
                assert f"{state.capitalize()} by {by}" in browser.text(".state")
    print(f"{firsts.count(0)} times manager, {firsts.count(1)} times deputy; {kinds}")
    assert kinds[OTHER] > 0


def test_a_link_is_used_twice(site: Site, browsers: Browsers) -> None:
    """The same answer again is the first one; another one is refused, and the first one shown."""
    browser = browsers.stranger()
    asked = site.ask()
    browser.open(asked.link)
    assert site.outcome(asked) == ("waiting", None, None)
    form = browser.find("form[action]")
    assert form
    browser.find("#comment").send_keys("Fine with me.")
    browser.find("button[value=approved]").click()
    browser.wait_for(DONE)
    assert site.outcome(asked) == ("approved", "Finance, by link", "Fine with me.")
    browser.open(asked.link)
    assert "This link was used before. The first answer stands." in browser.text(".notice")
    assert "Approved by Finance, by link" in browser.text()
    assert "Fine with me." in browser.text("blockquote")
    assert not browser.driver.find_elements(By.CSS_SELECTOR, "main form")


def test_two_windows_with_the_same_link(site: Site, browsers: Browsers) -> None:
    first, second = browsers.stranger(), browsers.approver("deputy", javascript=False)
    asked = site.ask()
    for browser in (first, second):
        browser.open(asked.link)
    first.find("button[value=approved]").click()
    first.wait_for(DONE)
    second.find("button[value=rejected]").click()
    second.wait_for("This link was used before. The first answer stands.", ".notice")
    assert "Approved by Finance, by link" in second.text()


def test_it_expires_while_the_page_is_open(site: Site, browsers: Browsers) -> None:
    """The page with JavaScript says so by itself; the other one when its button is pressed."""
    live, plain = browsers.approver("manager"), browsers.approver("manager", javascript=False)
    asked = site.ask(patience=timedelta(seconds=8))
    for browser in (live, plain):
        browser.open(asked.path)
        browser.find("button[value=approved]")
    live.wait_for("Expired", ".state")
    assert not live.driver.find_elements(By.CSS_SELECTOR, "main form")
    plain.find("button[value=approved]").click()
    plain.wait_for("Too late: the deadline has passed. Your answer was not used.", ".notice")
    assert site.outcome(asked)[0] == "expired"


def test_a_link_expires_while_the_page_is_open(site: Site, browsers: Browsers) -> None:
    browser = browsers.stranger()
    asked = site.ask(patience=timedelta(seconds=8))
    browser.open(asked.link)
    browser.find("button[value=approved]")
    browser.wait_for("Expired", ".state")


def appears_within(browser: Browser, text: str, selector: str, began: float) -> float:
    browser.wait_for(text, selector)
    return time.monotonic() - began


def test_live_update(site: Site, browsers: Browsers) -> None:
    """An answer and a new approval are on the pages of others within a second of their commit."""
    page = browsers.approver("manager")
    seconds = []
    for number in range(5):
        asked = site.ask(patience=None, title=f"Live {number}")
        page.open(asked.path)
        page.find("#comment").send_keys("I am still writi")
        time.sleep(1)  # both have their streams by now
        with site.approver("deputy") as client:
            form = client.get(asked.path).text
            fields = {name: hidden(form, name) for name in ("csrf", "form_id")}
            began = time.monotonic()
            client.post(asked.path, data={**fields, "decision": "approved"})
        seconds.append(appears_within(page, "Approved by deputy", ".state", began))
    print("seconds from the request to the page:", [round(s, 3) for s in seconds])
    assert sorted(seconds)[2] < 1


def test_a_new_approval_comes_to_the_desk(site: Site, browsers: Browsers) -> None:
    desk = browsers.approver("manager")
    kind = f"kind {time.monotonic_ns()}"
    first = site.ask(title="The first of its kind", signal_name=kind)
    desk.open(f"/?signal={kind}")
    time.sleep(1)
    seconds = []
    for number in range(5):
        began = time.monotonic()
        site.ask(title=f"Arrived {number}", signal_name=kind)
        seconds.append(appears_within(desk, f"Arrived {number}", ".list", began))
    print("seconds from the commit to the desk:", [round(s, 3) for s in seconds])
    assert first.title in desk.text(".list")
    assert sorted(seconds)[2] < 1


def test_the_comment_is_not_lost_by_an_update(site: Site, browsers: Browsers) -> None:
    page = browsers.approver("manager")
    asked = site.ask()
    page.open(asked.path)
    page.find("#comment").send_keys("half a sen")
    site.ask()
    time.sleep(1.5)
    assert page.find("#comment").get_attribute("value") == "half a sen"


def test_with_the_keyboard_alone(site: Site, browsers: Browsers) -> None:
    browser = browsers.approver("manager")
    asked = site.ask()
    browser.open(asked.path)
    focused: list[str] = []
    while not focused or focused[-1] != "approved":
        assert len(focused) < 12
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.driver.switch_to.active_element
        focused.append(element.get_attribute("value") or element.text)
    assert focused[0] == "Skip to the content"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.wait_for(DONE)
    assert site.outcome(asked)[0] == "approved"


def pages(site: Site, browsers: Browsers) -> dict[str, tuple[Browser, str]]:
    """Each page in each of its states: who opens it, and where."""
    manager, stranger = browsers.approver("manager"), browsers.stranger()
    long = site.ask(title="A" * 60 + "nother one with a very long title that has to wrap " * 2)
    waiting, link, used = site.ask(), site.ask(title="A second espresso machine"), site.ask()
    expired = site.ask(patience=timedelta(0))
    with site.client() as client:
        client.post(used.link, data={"decision": "rejected", "comment": "Too dear.\nAsk again in spring."})
    return {
        "sign-in": (stranger, "/sign-in"),
        "desk": (manager, "/"),
        "empty desk": (manager, "/?signal=nothing"),
        "approval": (manager, waiting.path),
        "long title": (manager, long.path),
        "rejected": (manager, used.path),
        "expired": (manager, expired.path),
        "link": (stranger, link.link),
        "used link": (stranger, used.link),
        "unknown link": (stranger, "/t/fst_"),
    }


@pytest.mark.time_limit(900)
def test_every_page_is_accessible_and_fits(site: Site, browsers: Browsers) -> None:
    """axe-core finds nothing serious, wide and at 360 pixels, light and dark; nothing is wider than the window."""
    for number in range(10):
        site.ask(title=f"Travel to customer {number}", signal_name="expense")
    faults = []
    for name, (browser, path) in pages(site, browsers).items():
        for width, dark in ((1000, False), (1000, True), (360, False), (360, True)):
            browser.show(width=width, dark=dark)
            browser.open(path)
            kind = f"{name}, {width} pixels{', dark' if dark else ''}"
            faults += [f"{kind}: {fault}" for fault in browser.faults_of_access()]
            if browser.overflow() > 0:
                faults.append(f"{kind}: {browser.overflow()} pixels too wide")
        browser.show()
    assert faults == []


def test_axe_finds_what_is_wrong(browsers: Browsers) -> None:
    browser = browsers.stranger()
    browser.open("/sign-in")
    browser.driver.execute_script("document.querySelector('label').remove()")
    assert any(fault.startswith("label") for fault in browser.faults_of_access())


def test_screenshots(site: Site, browsers: Browsers, screenshots: Path) -> None:
    """Those of the README; `make screenshots` keeps them."""
    site.engine.execute("SELECT flow_signal_v1.remove_run(run_id) FROM approvals.requests")  # those of other tests
    stories = [
        ("Travel to the customer in Lisbon", "expense", "Train and two nights, 610 EUR. The customer pays half of it."),
        ("6 screens for the office in Tartu", "purchase", "1,890 EUR from the usual supplier, delivered in a week."),
        ("Release 5.0 to everybody", "release", "All checks are green; 40 people have used it for two weeks."),
    ]
    asked = [site.ask(title=title, signal_name=name, details=details) for title, name, details in stories]
    used = site.ask(
        title="Refund of order 19-840", details="The parcel for Leeds was lost; the customer asks for 84 EUR."
    )
    with site.client() as client:
        client.post(used.link, data={"decision": "approved", "comment": "The parcel is lost indeed."})
    manager, stranger = browsers.approver("manager"), browsers.stranger()
    shots = [
        ("desk", manager, "/", 800, False),
        ("approval", manager, asked[0].path, 800, True),
        ("link", stranger, asked[2].link, 360, False),
        ("used-link", stranger, used.link, 360, True),
    ]
    for name, browser, path, width, dark in shots:
        browser.show(width=width, height=620, dark=dark)
        browser.open(path)
        file = screenshots / f"approvals-{name}.png"
        browser.driver.save_screenshot(str(file))
        browser.show()
        assert file.stat().st_size > 5000
