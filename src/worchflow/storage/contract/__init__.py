"""What every store promises: who may claim, what is atomic, which errors it raises.

The docstrings are the contract, and `tests/conformance` asks every store for it.
Imports `model` and below. Start with `backend.py`.
"""
