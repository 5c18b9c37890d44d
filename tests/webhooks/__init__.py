"""Webhooks, against backends that answer, and such that do not."""
