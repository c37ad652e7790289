"""What everything else stands on: errors, ids, durations, limits, the clock, forks.

Nothing here knows of executions, and nothing here imports the rest of the library.
Start with `errors.py`: every error a user can meet, with its stable code. The time,
random numbers and ids come from `runtime.py`.
"""
