"""What a handler can ask for: one file for each kind of operation.

A new one is a class with the methods of `engine.operation.Operation`, and a line in
`engine.context_calls.OPERATIONS`, which says for what kind of call it is made. It is
made with its identity; then its record is replayed, or it is done and recorded, with
the functions of `engine.step_results` for values. It pauses with `Scope.pause`, runs
threads with `Scope.in_thread`, and leaves nothing running that the scope does not
know. Imports what the engine does, and no other operation. Start with `run.py`.
"""
