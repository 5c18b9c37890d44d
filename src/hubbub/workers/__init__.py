"""Several processes on one port: a supervisor that accepts, and the workers it hands connections to."""
