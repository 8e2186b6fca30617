"""The endpoint for machines: each verdict has its status, and each signal counts once, however often it is posted."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from uuid import UUID, uuid4

import httpx
import pytest
from standardwebhooks import Webhook

from examples.approvals.webhooks import LONGEST_BODY
from flow_signal import FlowSignalStore
from tests_py.web.conftest import Site

Post = Callable[..., httpx.Response]


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with site.client() as client:
        yield client


def headers(site: Site, body: bytes, id: str, at: datetime | None = None) -> dict[str, str]:
    at = at or datetime.now(timezone.utc)
    signature = Webhook(site.settings.webhook_secret).sign(id, at, body.decode())
    return {"webhook-id": id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


@pytest.fixture
def post(site: Site, client: httpx.Client) -> Post:
    """Sign and post."""

    def post(run_id: object, body: bytes = b"{}", *, id: str | None = None, name: str = "paid", **query: str):  # type: ignore[no-untyped-def]
        return client.post(
            f"/signals/{run_id}/{name}", content=body, headers=headers(site, body, id or str(uuid4())), params=query
        )

    return post


def test_every_status_of_the_table(site: Site, post: Post) -> None:
    run_id = uuid4()
    store = FlowSignalStore(site.engine)
    nobody = post(run_id)
    assert (nobody.status_code, nobody.json()["status"]) == (404, "not_found")
    store.register_waiter(run_id, "late", "paid", expires_in=timedelta(0))
    assert post(run_id).status_code == 410
    store.register_waiter(run_id, "step", "paid")
    body = b'{"amount":  12.50}'
    delivered = post(run_id, body, id="invoice 17")
    assert (delivered.status_code, delivered.json()["replayed"]) == (200, False)
    assert delivered.json()["step_key"] == "step"
    waiter = store.get_waiter(run_id, "step")
    assert waiter
    assert waiter.payload_json == body.decode()
    again = post(run_id, body, id="invoice 17")
    assert (again.status_code, again.json()) == (200, {**delivered.json(), "replayed": True})
    other = post(run_id, b"1", id="invoice 17")
    assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")
    assert post(run_id, body).status_code == 409
    kept = post(run_id, body, id="early", buffer_seconds="60", name="shipped")
    assert (kept.status_code, kept.json()["status"]) == (202, "buffered")
    store.register_waiter(run_id, "parcel", "shipped")
    assert post(run_id, body, id="early", name="shipped").json()["status"] == "delivered"
    store.remove_run(run_id)


def test_too_many_are_buffered(site: Site, post: Post) -> None:
    run_id = uuid4()
    site.engine.execute("UPDATE flow_signal.flow_signal_settings SET max_buffered = 1")
    try:
        codes = [post(run_id, buffer_seconds="60").status_code for _ in range(2)]
    finally:
        site.engine.execute("UPDATE flow_signal.flow_signal_settings SET max_buffered = 1000")
    assert codes == [202, 429]


@pytest.mark.parametrize(
    ("run", "name", "body", "id", "query", "code"),
    [
        ("x", "paid", b"1", "i", {}, 400),
        (UUID(int=1), " ", b"1", "i", {}, 400),
        (UUID(int=1), "x" * 257, b"1", "i", {}, 400),
        (UUID(int=1), "paid", b"1", "x" * 257, {}, 400),
        (UUID(int=1), "paid", b"{", "i", {}, 400),
        (UUID(int=1), "paid", b"[" * 100_000, "i", {}, 400),
        (UUID(int=1), "paid", b'"secret" x', "i", {}, 400),
        (UUID(int=1), "paid", b"1", "i", {"buffer_seconds": "-1"}, 400),
        (UUID(int=1), "paid", b"1", "i", {"buffer_seconds": "999999999"}, 400),
        (UUID(int=1), "paid", b'"' + b"x" * LONGEST_BODY + b'"', "i", {}, 413),
        (UUID(int=1), "a/b c", b"1", "i", {}, 404),
        (UUID(int=1), "paid", b"", "i", {}, 404),
    ],
)
def test_what_is_refused(
    post: Post, run: object, name: str, body: bytes, id: str, query: dict[str, str], code: int
) -> None:
    answer = post(run, body, id=id, name=name, **query)
    assert answer.status_code == code
    assert "secret" not in answer.text


def test_no_signature(site: Site, client: httpx.Client) -> None:
    path = f"/signals/{UUID(int=1)}/paid"
    good = headers(site, b"1", "i")
    now = datetime.now(timezone.utc)
    forged = [
        {},
        {**good, "webhook-id": "j"},
        {**good, "webhook-signature": "v1,AAAA"},
        {**good, "webhook-signature": "nonsense"},
        {**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")},
        {**good, "webhook-timestamp": "yesterday"},
        headers(site, b"1", "i", now - timedelta(minutes=6)),
        headers(site, b"1", "i", now + timedelta(minutes=6)),
        headers(site, b"2", "i"),
    ]
    assert [client.post(path, content=b"1", headers=each).status_code for each in forged] == [401] * len(forged)
    assert client.post(path, content=b"1", headers=good).status_code == 404
    two = {**good, "webhook-signature": f"v1,AAAA {good['webhook-signature']}"}
    assert client.post(path, content=b"1", headers=two).status_code == 404


def test_the_idempotency_key(site: Site, client: httpx.Client) -> None:
    """It may repeat the signed id; another one nobody has signed."""
    path = f"/signals/{UUID(int=1)}/paid"
    signed = headers(site, b"1", "i")
    assert client.post(path, content=b"1", headers={**signed, "Idempotency-Key": "i"}).status_code == 404
    assert client.post(path, content=b"1", headers={**signed, "Idempotency-Key": "j"}).status_code == 400


@pytest.mark.time_limit(900)
def test_a_thousand_posts_with_retries_from_fifty_clients(site: Site) -> None:
    """200 signals, each posted five times, at any moment and by any client: applied once, each status as promised."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    store = FlowSignalStore(site.engine)
    runs = [uuid4() for _ in range(200)]
    for run_id in runs:
        for step in range(3):  # a duplicate that reached another step would be seen
            store.register_waiter(run_id, f"step {step}", "paid")
    posts = [(run_id, f"payment of {run_id}") for run_id in runs for _ in range(5)]
    chance.shuffle(posts)
    lots = [posts[number::50] for number in range(50)]

    def send(lot: list[tuple[UUID, str]]) -> list[tuple[UUID, int, bool]]:
        answers = []
        with site.client() as client:
            for run_id, id in lot:
                body = json.dumps({"run": str(run_id)}).encode()
                answer = client.post(f"/signals/{run_id}/paid", content=body, headers=headers(site, body, id))
                answers.append((run_id, answer.status_code, answer.json()["replayed"]))
        return answers

    with ThreadPoolExecutor(50) as threads:
        answers = [answer for lot in threads.map(send, lots) for answer in lot]
    assert len(answers) == 1000
    assert Counter((code, replayed) for _, code, replayed in answers) == {(200, False): 200, (200, True): 800}
    assert Counter(run_id for run_id, _, replayed in answers if not replayed) == Counter(runs)
    for run_id in runs:
        states = [waiter.state for waiter in store.list_waiters(run_id=run_id)]
        assert states == ["delivered", "waiting", "waiting"]
        store.remove_run(run_id)
