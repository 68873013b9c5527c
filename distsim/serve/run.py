"""Running the server until somebody ends it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from distsim.errors import UsageError
from distsim.serve.guard import LOOPBACK

if TYPE_CHECKING:
    from distsim.serve.pool import Pool

#: Port unless said otherwise.
PORT = 8642
#: Seconds for answers that are under way when the server ends.
_GRACE_S = 2


def serve(
    host: str = LOOPBACK[0],
    port: int = PORT,
    *,
    jobs: int | None = None,
    cache: str | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until a signal ends it.

    Parameters
    ----------
    host : str
        Address to listen on.
    port : int
        0 for any that is free.
    jobs : int, optional
        Processes that evaluate; by default one a processor, and at least two.
    cache : str, optional
        File that keeps results of sweeps; empty for the user's own, None to keep none.
    on_ready : callable, optional
        Told the address of the page.

    Raises
    ------
    UsageError
        DS640 where the extra ``serve`` is not installed, DS726 for an address that cannot be
        listened on.
    KeyboardInterrupt
        Where Ctrl-C ended it.
    """
    server = _server_class()
    asyncio.run(_serve(server, host, port, jobs, cache, on_ready))


async def _serve(
    server: Any,
    host: str,
    port: int,
    jobs: int | None,
    cache: str | None,
    on_ready: Callable[[str], None] | None,
) -> None:
    from uvicorn import Config

    from distsim.serve.app import application
    from distsim.serve.pool import Pool

    # That a process was seen to end in two places is no news to anybody.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    pool = Pool(jobs, cache)
    config = Config(
        application(pool, host),
        host=host,
        port=port,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    await server(config, pool, on_ready).serve()


def _server_class() -> Any:
    """Return uvicorn's server with what is ours about its beginning and its end.

    Raises
    ------
    UsageError
        DS640.
    """
    if any(find_spec(name) is None for name in ("starlette", "uvicorn")):
        raise UsageError(
            "DS640",
            "distsim serve needs starlette and uvicorn, which are not installed",
            rule="the server is an extra, so that distsim itself stays small",
            fix="pip install 'distsim-train[serve]'",
        )
    import uvicorn

    class Server(uvicorn.Server):
        """A server that ends its processes first, for their answers are waited for."""

        def __init__(self, config: Any, pool: Pool, on_ready: Callable[[str], None] | None) -> None:
            super().__init__(config)
            self._pool, self._on_ready = pool, on_ready

        async def startup(self, sockets: Any = None) -> None:
            """Listen, say so, and start the processes."""
            host, port = self.config.host, self.config.port
            try:
                await super().startup(sockets)
            except SystemExit as exit_:
                raise _unusable(host, port, exit_.__context__) from None
            number = self.servers[0].sockets[0].getsockname()[1]
            if self._on_ready is not None:
                self._on_ready(address(host, number))
            self._warming = asyncio.get_running_loop().create_task(self._pool.warm())

        async def shutdown(self, sockets: Any = None) -> None:
            """End."""
            self._warming.cancel()
            await self._pool.close()
            await super().shutdown(sockets)

    return Server


def address(host: str, port: int) -> str:
    """Return the address of the page.

    Examples
    --------
    >>> address("::1", 8642), address("0.0.0.0", 80)
    ('http://[::1]:8642/', 'http://127.0.0.1:80/')
    """
    name = {"0.0.0.0": LOOPBACK[0], "::": "::1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


def _unusable(host: str, port: int, reason: BaseException | None) -> UsageError:
    number = getattr(reason, "errno", None)
    said = os.strerror(number) if number else str(reason or "nobody says why")
    return UsageError(
        "DS726",
        f"{host} port {port} cannot be listened on: {said.lower()}",
        value=port,
        rule="a port of this machine that no other program has",
        fix="choose another with --port, or 0 for any that is free",
    )
