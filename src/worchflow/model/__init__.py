"""What the library is about, as values: executions, steps, claims, settlements.

Frozen records and pure functions without I/O; imports only `foundations`. Start with
`records.py`, then `transitions.py`: the statuses and the moves between them. What
people are told about an execution that waits is in `waiting.py`.
"""
