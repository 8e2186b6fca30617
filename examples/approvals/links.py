"""The page behind a link: no sign-in, and no form of another site could know its address."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from examples.approvals.desk import LONGEST_COMMENT, answer, find_request, stream
from examples.approvals.pages import read_form, render
from examples.approvals.workflow import token_hash
from flow_signal import AsyncFlowSignalStore, DeliveryIdReusedError, SignalDeliveryStatus


async def show(request: Request) -> Response:
    """What the link is for. A GET never redeems: mail scanners follow links."""
    return await page(request, None, 200)


async def redeem(request: Request) -> Response:
    """Redeem the token with the answer; say what became of it."""
    form = await read_form(request)
    _, _, recipient = await link(request)
    async with request.app.state.link_pool.connection() as connection:
        try:
            result = await AsyncFlowSignalStore(connection).redeem_token(
                request.path_params["token"], payload_json=answer(form, f"{recipient}, by link")
            )
        except DeliveryIdReusedError:
            return await page(request, "used", 409)
    if result.status is SignalDeliveryStatus.DELIVERED:
        return await page(request, "replayed" if result.replayed else "done", 200)
    return await page(request, "late" if result.status is SignalDeliveryStatus.EXPIRED else "other", 409)


async def events(request: Request) -> Response:
    run_id, step_key, _ = await link(request)
    return stream(request, (run_id, step_key))


async def link(request: Request) -> tuple[UUID, str, str]:
    """Which step the link is for, and who was sent it."""
    async with request.app.state.link_pool.connection() as connection:
        query = "SELECT run_id, step_key, recipient FROM approvals.find_link(%s)"
        row = await (await connection.execute(query, [token_hash(request.path_params["token"])])).fetchone()
    if row is None:
        raise HTTPException(404)
    return row[0], row[1], row[2]


async def page(request: Request, told: str | None, code: int) -> Response:
    run_id, step_key, recipient = await link(request)
    async with request.app.state.link_pool.connection() as connection:
        token = await AsyncFlowSignalStore(connection).describe_token(request.path_params["token"])
        found = await find_request(connection, run_id, step_key)
    if found is None:
        raise HTTPException(404)
    if token is None and found["state"] == "waiting":
        found["state"] = "removed"  # revoked, or past the token's own deadline
    elif token is not None and token.state == "redeemed" and told is None:
        told = "used"
    return render(request, "approval.html", code, **context(request, found, told, recipient, step_key))


def context(request: Request, found: dict[str, Any], told: str | None, recipient: str, step_key: str) -> dict[str, Any]:
    return {
        "found": found,
        "told": told,
        "recipient": recipient,
        "step_key": step_key,
        "form_id": "",
        "longest_comment": LONGEST_COMMENT,
        "action": request.url.path,
        "live": f"{request.url.path}/events",
    }
