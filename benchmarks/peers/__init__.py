"""The usual ways to broadcast from Python, each as a small server that a benchmark can command."""
