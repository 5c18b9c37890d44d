"""The JavaScript client, under Node and in a browser."""
