"""The application: paths, what each answers, and the files of the page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from distsim.report.html.page import script_module, style_sheet
from distsim.serve import asks
from distsim.serve.catalogue import scenario_names, scenario_text
from distsim.serve.guard import Guard
from distsim.serve.limits import LIMITS
from distsim.serve.pool import Lost, Message, Pool
from distsim.serve.refusals import Refused, bad_form, busy, error_dict, too_much
from distsim.serve.reply import Answer, Json, refusal
from distsim.serve.sweeps import over_time, swept

_OWN_FILES = (
    *("app.css", "app.js", "api.js", "compare.js", "editor.js", "form.js", "results.js"),
    *("share.js", "state.js", "sweep.js"),
)
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


def application(pool: Pool, host: str = "127.0.0.1") -> Starlette:
    """Return the application.

    Parameters
    ----------
    pool : Pool
        Processes that evaluate; closed when the application ends.
    host : str
        Address that is listened on.
    """
    handlers = _Handlers(pool)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await pool.close()

    return Starlette(
        routes=[
            Route("/", handlers.index),
            Route("/static/{name}", handlers.static),
            Route("/api/catalogue", handlers.catalogue),
            Route("/api/scenarios/{name:path}", handlers.shipped),
            Route("/api/scenario", handlers.scenario, methods=["POST"]),
            Route("/api/predict", handlers.predict, methods=["POST"]),
            Route("/api/page", handlers.page, methods=["POST"]),
            Route("/api/compare", handlers.compare, methods=["POST"]),
            Route("/api/sweep", handlers.sweep, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, host=host)],
        exception_handlers={HTTPException: _unknown, Refused: _refused, ClientDisconnect: _left},
        lifespan=lifespan,
    )


async def _unknown(_: Request, error: Exception) -> Any:
    status = error.status_code if isinstance(error, HTTPException) else 400
    message = "no such method here" if status == 405 else "there is nothing at this path"
    return refusal(bad_form(message, "the paths of docs/serve.md", status=status))


async def _refused(_: Request, error: Exception) -> Any:
    return refusal(error) if isinstance(error, Refused) else refusal(bad_form("refused", ""))


async def _left(_: Request, __: Exception) -> Any:
    return Response(status_code=400)  # nobody reads it


class _Handlers:
    """Answers of each path."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._catalogue: dict[str, Any] | None = None
        self._sweeps = 0

    async def index(self, request: Request) -> Response:
        """Return the page."""
        return _file(request, "index.html")

    async def static(self, request: Request) -> Response:
        """Return a file of the page, by its name and by nothing else."""
        name = request.path_params["name"]
        if name not in _contents() or name == "index.html":
            raise HTTPException(404)
        return _file(request, name)

    async def catalogue(self, _: Request) -> ASGIApp:
        """Return what can be picked."""
        if self._catalogue is None:
            return Answer(self._noted(), streams=False)
        return Json(self._catalogue)

    async def _noted(self) -> AsyncGenerator[Message]:
        async with aclosing(self._asked("catalogue", {}, LIMITS.predict_s)) as messages:
            async for message in messages:
                if message["event"] != "error":
                    self._catalogue = message["data"]
                yield message

    async def shipped(self, request: Request) -> ASGIApp:
        """Return the text of a shipped scenario."""
        name = request.path_params["name"]
        if name not in scenario_names():
            raise HTTPException(404)
        return Json({"name": name, "scenario": scenario_text(name)})

    async def scenario(self, request: Request) -> ASGIApp:
        """Change a scenario."""
        ask = asks.fields(await asks.body_of(request), asks.SCENARIO, ("scenario",))
        return Answer(self._asked("scenario", ask, LIMITS.predict_s), streams=False)

    async def predict(self, request: Request) -> ASGIApp:
        """Predict a step, all in one piece."""
        ask = asks.fields(await asks.body_of(request), asks.SCENARIO, ("scenario",))
        return Answer(self._asked("result", ask, LIMITS.predict_s), streams=False)

    async def page(self, request: Request) -> ASGIApp:
        """Predict a step, as the sections of a page."""
        ask = asks.fields(await asks.body_of(request), asks.SCENARIO, ("scenario",))
        return Answer(self._asked("page", ask, LIMITS.predict_s), streams=True)

    async def compare(self, request: Request) -> ASGIApp:
        """Compare two scenarios."""
        ask = asks.fields(await asks.body_of(request), asks.COMPARE, ("a", "b"))
        return Answer(self._asked("compare", ask, LIMITS.compare_s, slow=True), streams=True)

    async def sweep(self, request: Request) -> ASGIApp:
        """Evaluate all combinations."""
        ask = asks.fields(await asks.body_of(request), asks.SWEEP, ("scenario",))
        if self._sweeps >= LIMITS.sweeps:
            raise busy(f"{LIMITS.sweeps} sweeps run already")
        return Answer(self._swept(ask), streams=True)

    async def _swept(self, ask: dict[str, Any]) -> AsyncGenerator[Message]:
        self._sweeps += 1
        try:
            async with aclosing(_mended(swept(self._pool, ask), LIMITS.sweep_s)) as messages:
                async for message in messages:
                    yield message
        finally:
            self._sweeps -= 1

    def _asked(
        self, do: str, ask: Mapping[str, Any], limit_s: float, *, slow: bool = False
    ) -> AsyncGenerator[Message]:
        return _mended(self._pool.asked({**ask, "do": do}, limit_s, slow=slow), limit_s)


async def _mended(source: AsyncGenerator[Message], limit_s: float) -> AsyncGenerator[Message]:
    """Yield messages, and as the last one the error that ends them, if one does."""
    error: dict[str, Any]
    try:
        async for message in source:
            yield message
        return
    except TimeoutError:
        error = over_time(limit_s)
    except Lost:
        fix = "ask for less, or use distsim run"
        error = error_dict(
            too_much("the process that evaluated it ended", "memory has a limit here", fix=fix)
        )
    except Refused as refused:
        error = error_dict(refused)
    finally:
        await source.aclose()
    yield {"event": "error", "data": error}


@lru_cache(maxsize=1)
def _contents() -> dict[str, tuple[bytes, str, str]]:
    """Return content, type and tag of each file of the page."""
    folder = files("distsim.serve") / "static"
    found = {name: (folder / name).read_bytes() for name in (*_OWN_FILES, "index.html")}
    found["report.js"] = script_module().encode()
    found["report.css"] = style_sheet().encode()
    out = {}
    for name, content in found.items():
        ending = f".{name.rpartition('.')[2]}"
        kind = _TYPES[ending]
        out[name] = (content, f"{kind}; charset=utf-8", f'"{sha256(content).hexdigest()[:32]}"')
    return out


def _file(request: Request, name: str) -> Response:
    content, kind, tag = _contents()[name]
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers={**headers, "content-type": kind})
