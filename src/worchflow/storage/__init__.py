"""Where executions are kept: one contract, and two stores that keep it.

`choice.py` makes the store that a user asked for, and imports its driver only then;
the stores import the contract and never each other. Start with `contract/backend.py`.
"""
