"""Measures Worchflow on a store: workloads W1 to W7, beside the store's own limits.

It may import everything but the command line, and looks at the stores themselves.
Start with `workloads.py`, then `systems.py`.
"""
