"""Everything in one SQLite file: no server, several processes, the same promises.

Imports the storage contract and below. Start with `backend.py`, then `writer.py`: one
thread writes, and what waits is committed together. A claim is decided in
`claim_sql.py`, a worker's death in `worker_sql.py`; `schema/` has tables and indexes.
"""
