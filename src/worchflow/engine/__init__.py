"""Runs one execution to a settlement; knows the storage contract and no store.

Imports `definitions`, the storage contract and below. Start with `runner.py`; what a
handler can ask for is in `operations/`, what becomes of its tasks and threads in
`scope.py`, and how a message becomes an execution in `sending.py`.
"""
