"""The worker: claims executions, runs them, keeps its lease, stops in order.

Imports the engine, the choice of a store and below, never the client. Start with
`worcher.py`, then `claiming.py` and
`execution_slots.py`.
"""
