"""The application: its paths, its errors, and their description as OpenAPI."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from re import DOTALL, findall
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from actsr_cli.pages.page import Page, page_html
from actsr_cli.serving import answers, schema
from actsr_cli.serving.access import Access
from actsr_cli.serving.guard import Guard
from actsr_cli.serving.limits import COST_OF_AN_EXPLANATION, LONGEST_LIST, LONGEST_QUERY, MOST_FOUND
from actsr_cli.serving.metrics import CONTENT_TYPE
from actsr_cli.serving.refusal import SEE, RefusalError
from actsr_cli.serving.service import Service
from actsr_cli.version import __version__

_ABOUT = "Recommendations of the next item by a model of actsr. Every error has one form: what, where, what to do."
_ALWAYS = (400, 401, 403, 408, 413, 429, 500)
"""Every path may answer with these errors."""


def application(service: Service, access: Access) -> Guard:
    """The application of a service."""
    app = FastAPI(
        title="actsr",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        dependencies=[Security(HTTPBearer(auto_error=False, description="An API key."))] if access.keys else [],
        responses=_failures(*_ALWAYS),
    )
    guard = Guard(app, access, service.metrics)
    service.batcher.arriving = lambda: guard.active
    app.include_router(_answering(service))
    app.include_router(_about(service, guard))
    app.add_exception_handler(RefusalError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_such_path)
    app.add_exception_handler(Exception, _failed)
    return guard


def _answering(service: Service) -> APIRouter:
    """The paths that answer with the model."""
    router = APIRouter()

    @router.post(
        "/recommend",
        summary="Lists of recommended items",
        response_model=schema.Recommended,
        responses=_failures(415, 422),
        dependencies=[Depends(_json_only)],
    )
    async def recommend(asked: Annotated[schema.RecommendRequest, Body()]) -> Response:
        return _json(await service.recommend(asked))

    @router.post(
        "/explain",
        summary="What each item of a history contributes",
        response_model=schema.Explained,
        responses=_failures(404, 415, 422),
        dependencies=[Depends(_json_only)],
    )
    async def explain(asked: schema.ExplainRequest) -> Response:
        return _json(await service.compute(partial(answers.explanation, asked=asked), COST_OF_AN_EXPLANATION))

    @router.get(
        "/items/{item:path}/similar",
        summary="The most similar items of an item",
        response_model=schema.Similar,
        responses=_failures(404, 422),
    )
    async def similar(
        item: Annotated[str, Path(description="A raw item id.")],
        k: Annotated[int, Query(ge=1, le=LONGEST_LIST, description="The most items.")] = 10,
    ) -> Response:
        return _json(await service.compute(partial(answers.similar, item=item, k=k), 1))

    @router.get("/items", summary="Items by title or id", response_model=schema.Found, responses=_failures(422))
    async def items(
        query: Annotated[str, Query(max_length=LONGEST_QUERY, description="A part of a title or of a raw id.")] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_FOUND, description="The most items.")] = 20,
    ) -> Response:
        return _json(await asyncio.to_thread(answers.search, service.recommender, query, limit))

    return router


def _about(service: Service, guard: Guard) -> APIRouter:
    """The paths that tell about the service, and its page."""
    router = APIRouter()
    html, policy = _page()

    @router.get("/health", summary="Whether the process lives")
    async def health() -> schema.Alive:
        return schema.Alive()

    @router.get("/ready", summary="Whether it answers", responses=_failures(503))
    async def ready() -> schema.Ready:
        if guard.stopping:
            raise RefusalError(503, "the server stops", "server", "Ask another server.")
        model = service.recommender
        return schema.Ready(
            run=model.name, items=model.vocabulary.n_items, needs_timestamps=model.model.needs_timestamps
        )

    @router.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @router.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    return router


def _page() -> tuple[str, str]:
    """The page, and the policy that lets a browser run its own script and style and nothing else."""
    about = "Click items to build a history. The list shows what the model recommends next."
    html = page_html(Page("actsr serve", "Recommendations", about, files("actsr_cli.serving") / "page", {}))
    sources = {
        kind: " ".join(
            f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
            for text in findall(f"<{kind}>(.*?)</{kind}>", html, DOTALL)
        )
        for kind in ("script", "style")
    }
    policy = f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; connect-src 'self'"
    return html, f"{policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors of a path, for the description."""
    return {status: {"model": schema.Failure, "description": HTTPStatus(status).phrase} for status in statuses}


async def _json_only(request: Request) -> None:
    """Refuse other content: browsers send none of this type for a page of another site.

    It is a coroutine, as FastAPI would call a function in a thread.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusalError(415, "the body is not JSON", "header.Content-Type", "Send Content-Type: application/json.")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)  # noqa: S101  # it is registered for these
    return Response(error.body, error.status, error.headers, media_type="application/json")


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    places: dict[str, list[str]] = {}
    for each in error.errors():
        steps = [str(step) for step in each["loc"] if step not in schema.TAGS]
        places.setdefault(".".join(steps), []).append(each["msg"])
    where, told = next(iter(places.items()))
    more = f"; and {len(places) - 1} more" if len(places) > 1 else ""
    return await _refused(request, RefusalError(422, f"{' or '.join(told)}{more}", where))


async def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    where = "body" if error.status_code == 400 else "path" if error.status_code == 404 else "method"
    refusal = RefusalError(error.status_code, str(error.detail).lower(), where, SEE, dict(error.headers or {}))
    return await _refused(request, refusal)


async def _failed(request: Request, _: Exception) -> Response:
    return await _refused(request, RefusalError(500, "the server has made a mistake", "server", "Look at its log."))
