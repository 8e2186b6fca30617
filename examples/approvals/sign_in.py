"""The sign-in of the demo, by name and password. Put your single sign-on in its place."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from examples.approvals.pages import read_own_form, render


def hash_password(password: str) -> str:
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}.{_scrypt(password, salt).hex()}"


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


NOBODY = hash_password(secrets.token_hex())


def signed_in(request: Request) -> str:
    """Who is signed in; without anybody, the answer is the sign-in page."""
    user = request.session.get("user")
    if user is None:
        raise HTTPException(401)
    return str(user)


async def show(request: Request) -> Response:
    return render(request, "sign_in.html", failed=False)


async def enter(request: Request) -> Response:
    form = await read_own_form(request)
    name = form.get("name", "")
    salt, digest = map(bytes.fromhex, request.app.state.settings.users.get(name, NOBODY).split("."))
    is_right = hmac.compare_digest(await asyncio.to_thread(_scrypt, form.get("password", ""), salt), digest)
    if not is_right or name not in request.app.state.settings.users:
        return render(request, "sign_in.html", 401, failed=True)
    request.session.clear()
    request.session["user"] = name
    return RedirectResponse("/", 303)


async def leave(request: Request) -> Response:
    await read_own_form(request)
    request.session.clear()
    return RedirectResponse("/sign-in", 303)
