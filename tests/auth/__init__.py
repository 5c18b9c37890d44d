"""Tokens: what is taken for genuine, and where the keys come from."""
