"""The desk: what waits, and the page on which a signed-in approver answers."""

from __future__ import annotations

import json
import secrets
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from examples.approvals.pages import read_own_form, render
from examples.approvals.sign_in import signed_in
from flow_signal import AsyncFlowSignalStore, DeliveryIdReusedError, SignalDeliveryStatus, WaiterState

PAGE_SIZE = 8
LONGEST_COMMENT = 500
DECISIONS = ("approved", "rejected")


async def overview(request: Request) -> Response:
    """A page of what waits, the oldest run first."""
    signed_in(request)
    signal_name = request.query_params.get("signal") or None
    after = after_key(request.query_params.get("after"))
    async with request.app.state.desk_pool.connection() as connection:
        store = AsyncFlowSignalStore(connection)
        waiters = await store.list_waiters(
            state=WaiterState.WAITING, signal_name=signal_name, after=after, limit=PAGE_SIZE + 1
        )
        signals = [stats.signal_name for stats in await store.signal_stats() if stats.waiting]
        shown = waiters[:PAGE_SIZE]
        query = """
            SELECT r.run_id, r.step_key, r.title, r.asked_by FROM approvals.requests AS r
            INNER JOIN unnest(%s::uuid[], %s::text[]) AS k (run_id, step_key) USING (run_id, step_key)
        """
        keys = [waiter.run_id for waiter in shown], [waiter.step_key for waiter in shown]
        rows = await (await connection.execute(query, keys)).fetchall()
    titles = {(run_id, step_key): (title, asked_by) for run_id, step_key, title, asked_by in rows}
    return render(
        request,
        "desk.html",
        waiters=[(waiter, *titles.get((waiter.run_id, waiter.step_key), (waiter.step_key, ""))) for waiter in shown],
        next_page=f"{shown[-1].run_id}/{shown[-1].step_key}" if len(waiters) > PAGE_SIZE else None,
        is_first_page=after is None,
        signal=signal_name,
        signals=sorted({*signals, *([signal_name] if signal_name else [])}),
    )


def after_key(text: str | None) -> tuple[UUID, str] | None:
    """The last row of the page before, as the link to the next page has it."""
    if not text:
        return None
    run_id, _, step_key = text.partition("/")
    try:
        return UUID(run_id), step_key
    except ValueError:
        raise HTTPException(404) from None


async def events(request: Request) -> Response:
    signed_in(request)
    return stream(request, None)


async def approval_events(request: Request) -> Response:
    signed_in(request)
    return stream(request, (request.path_params["run"], request.path_params["step"]))


def stream(request: Request, key: tuple[UUID, str] | None) -> Response:
    return StreamingResponse(request.app.state.live.events(key), media_type="text/event-stream")


async def approval(request: Request) -> Response:
    """One approval: its context, and the form while it waits."""
    signed_in(request)
    return await show(request, None, 200)


async def decide(request: Request) -> Response:
    """Send the approver's answer to the step; say what became of it."""
    user = signed_in(request)
    form = await read_own_form(request)
    run_id, step_key = request.path_params["run"], request.path_params["step"]
    async with request.app.state.desk_pool.connection() as connection:
        try:
            result = await AsyncFlowSignalStore(connection).deliver_to_step(
                run_id, step_key, payload_json=answer(form, user), delivery_id=f"form {form.get('form_id', '')[:40]}"
            )
        except DeliveryIdReusedError:
            # The browser sent the same form once more, with something else in it: the first answer stands.
            return await show(request, "used", 409)
    if result.status is SignalDeliveryStatus.DELIVERED:
        return await show(request, "replayed" if result.replayed else "done", 200)
    # The worker may have taken the answer over already, so that its waiter is gone: the request knows.
    return await show(request, "late" if result.status is SignalDeliveryStatus.EXPIRED else "other", 409)


def answer(form: dict[str, str], by: str) -> str:
    """The payload: what was decided, by whom, and why. When: that is the clock of the database, at the delivery."""
    decision = form.get("decision")
    comment = form.get("comment", "").replace("\r\n", "\n").replace("\0", "").strip()
    if decision not in DECISIONS or len(comment) > LONGEST_COMMENT:
        raise HTTPException(400)
    return json.dumps({"decision": decision, "by": by, "comment": comment}, ensure_ascii=False)


async def show(request: Request, told: str | None, code: int) -> Response:
    run_id, step_key = request.path_params["run"], request.path_params["step"]
    async with request.app.state.desk_pool.connection() as connection:
        found = await find_request(connection, run_id, step_key)
    if found is None:
        raise HTTPException(404)
    return render(
        request,
        "approval.html",
        code,
        found=found,
        told=told,
        step_key=step_key,
        run_id=run_id,
        form_id=secrets.token_urlsafe(16),
        longest_comment=LONGEST_COMMENT,
        action=request.url.path,
        live=f"{request.url.path}/events",
    )


async def find_request(connection: Any, run_id: UUID, step_key: str) -> dict[str, Any] | None:
    """An approval as it is now, or None."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT * FROM approvals.find_request(%s, %s)", [run_id, step_key])
        row: dict[str, Any] | None = await cursor.fetchone()
        return row
