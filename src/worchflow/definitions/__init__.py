"""What users write: events, functions, retries, middleware, the context of a handler.

Everything is checked here, where it is written. Imports `serialization` and below.
Start with `events.py` and `function.py`.
"""
