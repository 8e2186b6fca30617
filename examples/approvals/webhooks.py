"""The sender's endpoint for machines: POST /signals/{run}/{name}, the body is the payload.

Signed as the Standard Webhooks specification says. `webhook-id` is signed and names the signal: a retry repeats it. An
`Idempotency-Key` may say the same; another value is refused, because nobody has signed it.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import psycopg
from psycopg import errors
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from flow_signal import (
    AsyncFlowSignalStore,
    DeliveryIdReusedError,
    PayloadTooLargeError,
    SignalDeliveryStatus,
    TooManyBufferedError,
)

STATUS_CODES = {
    SignalDeliveryStatus.DELIVERED: 200,  # replayed, too
    SignalDeliveryStatus.BUFFERED: 202,
    SignalDeliveryStatus.NOT_FOUND: 404,
    SignalDeliveryStatus.ALREADY_DELIVERED: 409,
    SignalDeliveryStatus.EXPIRED: 410,
}
ERROR_CODES: dict[type[psycopg.Error], int] = {
    DeliveryIdReusedError: 422,
    PayloadTooLargeError: 413,
    TooManyBufferedError: 429,
    errors.InvalidTextRepresentation: 400,
    errors.StatementTooComplex: 400,
    errors.InvalidParameterValue: 400,
    errors.CharacterNotInRepertoire: 400,
}
LONGEST_BODY = 1024 * 1024
LONGEST_BUFFERING = timedelta(days=7)


class Refused(Exception):
    """The request is answered with an error; nothing was sent."""

    def __init__(self, code: int, title: str) -> None:
        super().__init__(title)
        self.code = code
        self.title = title


async def signal(request: Request) -> JSONResponse:
    """Deliver the body to the run; say in the status what became of it."""
    try:
        body = await read(request)
        verify(request, body)
        run_id = as_uuid(request.path_params["run"])
        delivery_id = request.headers["webhook-id"]
        if request.headers.get("idempotency-key", delivery_id) != delivery_id:
            raise Refused(400, "idempotency-key is not the webhook-id, which alone is signed")
        buffer_for = as_buffering(request.query_params.get("buffer_seconds"))
        async with request.app.state.desk_pool.connection() as connection:
            result = await AsyncFlowSignalStore(connection).deliver_signal(
                run_id,
                request.path_params["name"],
                payload_json=body or None,
                delivery_id=delivery_id,
                buffer_for=buffer_for,
            )
    except Refused as refusal:
        return problem(refusal.code, refusal.title)
    except tuple(ERROR_CODES) as error:
        # The texts of the database never have a part of the payload.
        code = next(code for kind, code in ERROR_CODES.items() if isinstance(error, kind))
        return problem(code, error.diag.message_primary or "", error.diag.message_hint)
    return JSONResponse(
        {
            "status": result.status,
            "step_key": result.step_key,
            "delivered_at": result.delivered_at and result.delivered_at.isoformat(),
            "replayed": result.replayed,
        },
        STATUS_CODES[result.status],
    )


async def read(request: Request) -> bytes:
    """The body, unless it is too long: then no more of it is read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            raise Refused(413, f"the body is longer than {LONGEST_BODY} bytes")
    return bytes(body)


def verify(request: Request, body: bytes) -> None:
    """Refuse a body that was not signed with our secret within five minutes."""
    try:
        Webhook(request.app.state.settings.webhook_secret).verify(body, dict(request.headers), json_parse=False)
    except UnicodeDecodeError:
        raise Refused(400, "the body is not encoded in UTF-8") from None
    except (WebhookVerificationError, ValueError):
        raise Refused(401, "the signature is missing, wrong or too old") from None


def as_uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Refused(400, "the run is not a UUID") from None


def as_buffering(text: str | None) -> timedelta | None:
    """For how long a signal is kept that nobody waits for yet."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10) or timedelta(seconds=int(text)) > LONGEST_BUFFERING:
        raise Refused(400, f"buffer_seconds is not a number from 0 to {LONGEST_BUFFERING // timedelta(seconds=1)}")
    return timedelta(seconds=int(text))


def problem(code: int, title: str, detail: str | None = None) -> JSONResponse:
    document = {"status": code, "title": title} | ({"detail": detail} if detail else {})
    return JSONResponse(document, code, media_type="application/problem+json")
