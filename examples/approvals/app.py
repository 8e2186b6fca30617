"""The web application: the desk behind a sign-in, the pages behind a link, the endpoint for machines."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.approvals import desk, links, sign_in, webhooks
from examples.approvals.live import Live
from examples.approvals.pages import logger, show_http_error, show_outage
from examples.approvals.workflow import CHANNEL
from flow_signal import AsyncWaitHub

SESSION_SECONDS = 8 * 3600
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address of a link is a secret
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a deployment decides."""

    desk_dsn: str
    """A login with flow_signal_reader and flow_signal_sender."""
    link_dsn: str
    """A login with flow_signal_redeemer and nothing else of flow-signal."""
    webhook_secret: str = field(repr=False)
    """As the Standard Webhooks specification writes it: whsec_..."""
    users: dict[str, str] = field(repr=False)
    """The approvers, each with what sign_in.hash_password returned."""
    session_secret: str = field(repr=False, default_factory=secrets.token_hex)
    """Signs the session cookie; the same one for all processes."""
    https: bool = False
    """Whether cookies are for HTTPS only."""


def create_app(settings: Settings) -> Starlette:
    app = Starlette(
        routes=[
            Route("/", desk.overview),
            Route("/approvals/{run:uuid}/{step:path}/events", desk.approval_events),
            Route("/approvals/{run:uuid}/{step:path}", desk.approval, methods=["GET"]),
            Route("/approvals/{run:uuid}/{step:path}", desk.decide, methods=["POST"]),
            Route("/events", desk.events),
            Route("/t/{token}/events", links.events),
            Route("/t/{token}", links.show, methods=["GET"]),
            Route("/t/{token}", links.redeem, methods=["POST"]),
            Route("/sign-in", sign_in.show, methods=["GET"]),
            Route("/sign-in", sign_in.enter, methods=["POST"]),
            Route("/sign-out", sign_in.leave, methods=["POST"]),
            Route("/signals/{run}/{name:path}", webhooks.signal, methods=["POST"]),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        middleware=[
            Middleware(Manners),
            Middleware(
                SessionMiddleware,
                secret_key=settings.session_secret,
                session_cookie="approvals",
                max_age=SESSION_SECONDS,
                same_site="lax",
                https_only=settings.https,
            ),
        ],
        exception_handlers={
            HTTPException: show_http_error,
            PoolTimeout: show_outage,
            psycopg.OperationalError: show_outage,
        },
        lifespan=lifespan,
    )
    app.state.settings = settings
    return app


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """The pools, the hub and the task that feeds the live pages, for as long as the server runs."""
    settings = app.state.settings
    options: dict[str, Any] = {"open": False, "kwargs": {"autocommit": True}, "timeout": 10}
    async with (
        AsyncConnectionPool(settings.desk_dsn, min_size=1, max_size=8, **options) as app.state.desk_pool,
        AsyncConnectionPool(settings.link_dsn, min_size=1, max_size=4, **options) as app.state.link_pool,
        AsyncWaitHub(settings.desk_dsn, channel=CHANNEL) as hub,
    ):
        app.state.live = Live(hub, app.state.desk_pool)
        feeding = asyncio.create_task(app.state.live.run())
        yield
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding


class Manners:
    """Safe headers on each answer, and a line in the log without the path, which may have a token."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        is_static = scope["path"].startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                caching = "max-age=300" if is_static else "no-store"
                headers = {**HEADERS, "Cache-Control": caching}
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
                page = getattr(scope.get("endpoint"), "__name__", "-")
                logger.info(
                    "%s %s %s %.0f ms", scope["method"], page, message["status"], 1000 * (time.monotonic() - began)
                )
            await send(message)

        await self.app(scope, receive, send_with_headers)
