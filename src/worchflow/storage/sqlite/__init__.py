"""Everything in one SQLite file: no server, several processes, the same promises."""
