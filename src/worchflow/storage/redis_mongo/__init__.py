"""Redis and MongoDB as one store: MongoDB decides, Redis distributes and wakes.

Imports the storage contract and below. Start with `backend.py`. A claim is decided in
`claim_updates.py`, an end in `settlement_updates.py`, a worker's death in `reaper.py`;
which index serves what says `indexes.py`.
"""
