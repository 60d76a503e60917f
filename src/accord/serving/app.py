"""The application, made of its pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, Response

from accord import __version__
from accord.errors import AccordError
from accord.serving.config import ServeConfig
from accord.serving.pages import PAGES
from accord.serving.refusals import REFUSALS
from accord.serving.rendering import STATICS, page
from accord.serving.trust import JSON, REQUEST_ID, Trust
from accord.serving.workshop import Workshop

FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
PROVEN = ("/papers/confirm", "/papers/unsubscribe")  # links in mails, which carry a token of their own


def build_app(config: ServeConfig | None = None) -> FastAPI:
    """The application.

    Args:
        config: settings; None for the usual ones.
    """
    settings = config or ServeConfig()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.workshop = Workshop(settings)
        try:
            yield
        finally:
            app.state.workshop.close()

    app = FastAPI(
        title="Accord", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan, responses=REFUSALS
    )
    for each in PAGES:
        app.include_router(each.router)
    app.add_api_route("/", _front, include_in_schema=False)
    app.add_api_route("/static/{name:path}", _static, include_in_schema=False)
    app.add_exception_handler(AccordError, _told)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_middleware(GZipMiddleware, minimum_size=2000)
    app.add_middleware(Trust, config=settings, failed=_failed, proven=PROVEN)
    return app


async def _front(request: Request) -> Response:
    return page(request, "front")


async def _static(name: str) -> Response:
    """A file that comes with the application, and no other."""
    if name not in STATICS:
        raise HTTPException(404, "There is no such file.")
    return FileResponse(STATICS[name], headers=FOREVER)


# ---- errors: a sentence for people on a page, the same as JSON for programs ------------------------------------------


async def _told(request: Request, error: Exception) -> Response:
    return _said(request, 400, str(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = "There is nothing here." if error.detail == "Not Found" else error.detail
    answer = _said(request, error.status_code, said)
    answer.headers.update(error.headers or {})
    return answer


async def _misread(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = (
        f"{'.'.join(map(str, each['loc'][1:])) or 'the request'}: {each['msg'].lower()}" for each in error.errors()
    )
    return _said(request, 422, "; ".join(wrong))


def _failed(request: Request) -> Response:
    return _said(request, 500, f"This went wrong, and the log has the reason under {REQUEST_ID.get()}.")


def _said(request: Request, status: int, sentence: str) -> Response:
    if request.url.path.startswith(JSON):
        return JSONResponse({"detail": sentence}, status)
    part = "hx-request" in request.headers
    return page(request, "message" if part else "error", status, sentence=sentence)
