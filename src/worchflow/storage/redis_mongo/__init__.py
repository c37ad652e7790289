"""Redis and MongoDB as one store: MongoDB decides, Redis distributes and wakes.

Imports the storage contract and below. Start with `backend.py`; where a claim is
decided is `ownership.py`.
"""
