"""The core: what a hub decides, with no event loop, no socket and no clock."""
