"""What the pages have in common: templates, messages, and forms."""

from __future__ import annotations

import hmac
import logging
import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

LONGEST_FORM = 16 * 1024
logger = logging.getLogger("approvals")


def from_now(value: datetime) -> str:
    """How long ago, or in how long: one number is enough for a reader."""
    seconds = (value - datetime.now(timezone.utc)).total_seconds()
    size = abs(seconds)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if size >= length:
            count = int(size // length)
            words = f"{count} {unit}{'' if count == 1 else 's'}"
            return f"in {words}" if seconds > 0 else f"{words} ago"
    return "now"


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["instant"] = lambda value: f"{value.astimezone(timezone.utc):%-d %b %Y, %H:%M:%S} UTC"
TEMPLATES.filters["from_now"] = from_now


def render(request: Request, name: str, code: int = 200, **values: Any) -> HTMLResponse:
    """A page, for whoever is signed in."""
    values = {"user": request.session.get("user"), "csrf": csrf_token(request), **values}
    return HTMLResponse(TEMPLATES.get_template(name).render(values), code)


def show_message(request: Request, code: int, title: str, text: str) -> Response:
    return render(request, "message.html", code, title=title, text=text)


async def show_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 401:
        return RedirectResponse("/sign-in", 303)
    titles = {403: "This form is too old", 404: "There is no such page", 413: "That is too long"}
    title = titles.get(error.status_code, "That did not work")
    texts = {403: "Nothing was sent. Open the page again and repeat your answer."}
    return show_message(request, error.status_code, title, texts.get(error.status_code, "Go back to the desk."))


async def show_outage(request: Request, error: Exception) -> Response:
    logger.warning("the database does not answer: %s", type(error).__name__)
    return show_message(
        request,
        503,
        "The database does not answer",
        "Send the same form again in a moment: however often you send it, your answer counts once.",
    )


def csrf_token(request: Request) -> str:
    token: str = request.session.setdefault("csrf", secrets.token_urlsafe())
    return token


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a small form, none of them a file."""
    if int(request.headers.get("content-length", LONGEST_FORM + 1)) > LONGEST_FORM:
        raise HTTPException(413)
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


async def read_own_form(request: Request) -> dict[str, str]:
    """The fields of a form that this session was given, not one of another site."""
    form = await read_form(request)
    if not hmac.compare_digest(
        form.get("csrf", "").encode(), request.session.get("csrf", secrets.token_hex()).encode()
    ):
        raise HTTPException(403)
    return form
