"""Everything in one SQLite file: no server, several processes, the same promises.

Imports the storage contract and below. Start with `backend.py`, then `writer.py`: one
thread writes, and what waits is committed together.
"""
