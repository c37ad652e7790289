"""A process that forks a child, tells its pid, and commits until it is killed."""

from __future__ import annotations

import os
import time

from worchflow import Worchflow

client = Worchflow("shop").client()
client.sync.send({"name": "order", "data": 0})
child = os.fork()
if child == 0:
    time.sleep(120)
    os._exit(0)
print(child, flush=True)
while True:
    client.sync.send({"name": "order", "data": 0})
