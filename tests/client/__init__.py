"""The Python client, against scripted wire scenarios."""
