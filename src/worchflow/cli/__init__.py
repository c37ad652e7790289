"""The command line: `worchflow <command>`, data on stdout, talk on stderr."""
