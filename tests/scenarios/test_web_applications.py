"""`app.lifespan()` gives a web application its client, and a worker if it wants one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from worchflow import ConfigurationError, Context, Worchflow, WorchflowClient


def serving(app: Worchflow[Any]) -> Worchflow[Any]:
    @app.function("greet")
    async def greet(ctx: Context[str]) -> str:
        return f"Hello {ctx.data}!"

    return app


async def greet(request: Request) -> JSONResponse:
    client: WorchflowClient[Any] = request.state.worchflow
    message = {"name": "greet", "data": request.path_params["who"]}
    handle = await client.send(message)
    return JSONResponse({"greeting": await handle.result(timeout=10)})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_web_process_sends_and_works(make_app: Any) -> None:
    app = serving(make_app())
    routes = [Route("/greet/{who}", greet)]
    web = Starlette(routes=routes, lifespan=app.lifespan(concurrency=2))

    with TestClient(web) as browser:
        assert browser.get("/greet/Ada").json() == {"greeting": "Hello Ada!"}
    # The same application object starts again, as after a reload.
    with TestClient(web) as browser:
        assert browser.get("/greet/Emmy").json() == {"greeting": "Hello Emmy!"}


async def test_without_a_worker_there_is_only_the_client(make_app: Any) -> None:
    app = serving(make_app())
    async with app.lifespan()(None) as state:
        client = state["worchflow"]
        handle = await client.send({"name": "greet", "data": "Ada"})
        with pytest.raises(TimeoutError):
            await handle.result(timeout=0.05)
    with pytest.raises(ConfigurationError, match="closed"):
        await client.counts()


async def test_the_apps_own_lifespan_is_around_its_workers(make_app: Any) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Worchflow[Any]) -> AsyncGenerator[None]:
        events.append(f"enter {app.name}")
        yield
        events.append("leave")

    app = make_app("shop", lifespan=lifespan)

    @app.function("work")
    async def work(ctx: Context[None]) -> None:
        events.append("work")

    async with app.client() as client:
        assert events == []
        async with app.worker():
            await (await client.send(work())).result(timeout=10)

    assert events == ["enter shop", "work", "leave"]
