"""Runs one execution to a settlement; knows the storage contract and no store.

Imports `definitions`, the storage contract and below. Start with `runner.py`; what a
step does is in `step.py`, and how a message becomes an execution in `sending.py`.
"""
