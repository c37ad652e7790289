"""What fits Worchflow into other libraries; each module needs the one it names.

Imports `foundations` only. Start with `starlette.py`, which is for FastAPI too.
"""
