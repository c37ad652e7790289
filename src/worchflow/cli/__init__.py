"""The command line: `worchflow <command>`, data on stdout, messages on stderr.

It may import everything; a command imports what it needs when it runs, so that
`--help` is fast. Start with `main.py`; each command is a file in `commands/`.
"""
