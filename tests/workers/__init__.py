"""Several workers on one port: real processes, real sockets, real deaths."""
