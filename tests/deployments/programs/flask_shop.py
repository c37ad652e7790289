"""A Flask application: the client is used before gunicorn forks its workers, too."""

from __future__ import annotations

import os

from flask import Flask

from worchflow import Worchflow

shop = Worchflow("shop")
client = shop.client().sync
client.send({"name": "opened", "data": os.getpid()})

app = Flask("shop")


@app.post("/orders/<int:number>")
def order(number: int) -> dict[str, str]:
    handle = client.send({"name": "order", "data": number})
    return {"id": handle.id, "status": handle.status(), "process": str(os.getpid())}
