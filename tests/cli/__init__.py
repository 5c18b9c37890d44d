"""The command line, by running it."""
