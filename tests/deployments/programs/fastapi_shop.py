"""A FastAPI application whose client is opened in each worker process."""

from __future__ import annotations

import os

from fastapi import FastAPI, Request

from worchflow import Worchflow

shop = Worchflow("shop")
shop.client().sync.send({"name": "opened", "data": os.getpid()})

app = FastAPI(lifespan=shop.lifespan())


@app.post("/orders/{number}")
async def order(request: Request, number: int) -> dict[str, str]:
    handle = await request.state.worchflow.send({"name": "order", "data": number})
    status = await handle.status()
    return {"id": handle.id, "status": status, "process": str(os.getpid())}
