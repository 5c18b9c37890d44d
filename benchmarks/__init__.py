"""Load scenarios for Hubbub and what it is compared with; `python -m benchmarks` runs them."""
