"""From a user's values to text that a store keeps, and back as the annotated type.

Nowhere else above the stores do values become text. Imports `model` and below.
Start with `payloads.py`, which the engine and the client call.
"""
