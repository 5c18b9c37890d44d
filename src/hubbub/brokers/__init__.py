"""Where publications travel and are kept."""
