"""`app.lifespan()` gives a web application its client, and a worker if it wants one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from worchflow import (
    ConfigurationError,
    Context,
    SerializationError,
    StoreUnavailable,
    Worchflow,
    WorchflowClient,
)
from worchflow.integrations.starlette import answer_errors


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


async def test_a_store_that_does_not_open_ends_the_start(tmp_path: Any) -> None:
    app = Worchflow("web", sqlite=tmp_path / "missing" / "worchflow.db")

    with pytest.raises(ConfigurationError, match="there is no folder"):
        async with app.lifespan()(None):
            pass


async def test_without_a_worker_there_is_only_the_client(make_app: Any) -> None:
    app = serving(make_app())
    async with app.lifespan()(None) as state:
        client = state["worchflow"]
        handle = await client.send({"name": "greet", "data": "Ada"})
        with pytest.raises(TimeoutError):
            await handle.result(timeout=0.05)
    with pytest.raises(ConfigurationError, match="closed"):
        await client.counts()


async def test_leaving_waits_for_what_runs_as_long_as_it_may_and_says_so(
    make_app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app, began = make_app(), asyncio.Event()
    monkeypatch.setattr("worchflow.worker.worcher.REPORT_AFTER_SECONDS", 0.01)

    @app.function("endless")
    async def endless(ctx: Context[None]) -> None:
        began.set()
        await asyncio.Event().wait()

    lifespan = app.lifespan(concurrency=1, shutdown_timeout="400ms")
    async with lifespan(None) as state:
        handle = await state["worchflow"].send(endless(), id="endless-1")
        await asyncio.wait_for(began.wait(), 10)

    async with app.client() as client:
        assert (await client.get(handle.id)).status == "queued"
    assert "stops once 1 execution(s) have ended, in " in caplog.text
    assert "at the latest: endless-1" in caplog.text


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


async def act(request: Request) -> JSONResponse:
    client: WorchflowClient[Any] = request.state.worchflow
    match request.path_params["what"]:
        case "missing":
            await client.get("no-such-id")
        case "conflict":
            await client.send({"name": "greet", "data": "Ada"}, id="g")
            await client.send({"name": "greet", "data": "Emmy"}, id="g")
        case "input":
            await client.send({"name": "greet", "data": 5})
        case "state":
            await client.send({"name": "greet", "data": "Ada"}, id="g")
            await client.retry("g")
        case "store":
            raise StoreUnavailable("the database /srv/secret.db does not work")
        case "result":
            raise SerializationError("the result no longer decodes to Receipt")
        case _:
            raise ConfigurationError("a mistake of the application")
    return JSONResponse({})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", [Starlette, FastAPI])
def test_errors_are_answered_without_telling_where_the_data_is(
    make_app: Any, kind: Any
) -> None:
    app = serving(make_app())
    web = kind(routes=[Route("/{what}", act)], lifespan=app.lifespan())
    answer_errors(web)
    where = app.backend().location

    with TestClient(web, raise_server_exceptions=False) as browser:
        for what, status, code in (
            ("missing", 404, "WF3001"),
            ("conflict", 409, "WF3002"),
            ("input", 422, "WF4003"),
            ("state", 409, "WF3005"),
            ("store", 503, "WF2001"),
        ):
            answer = browser.get(f"/{what}")
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert len(answer.json()["detail"]) > 10
            assert where not in answer.text
            assert "/srv" not in answer.text
        assert browser.get("/mistake").status_code == 500
        assert browser.get("/result").status_code == 500
