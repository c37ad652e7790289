"""The client: sends events, waits for results, reads, cancels and retries executions.

Imports the engine, the choice of a store and below, never the worker. Start with
`client.py`; `sync_client.py` is the same for code without an event loop.
"""
