"""The examples, run by the commands that their docstrings give, as people use them."""
