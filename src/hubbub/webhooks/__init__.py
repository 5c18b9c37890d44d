"""Webhooks: a backend in any language decides what clients may do, and hears what happens."""

from hubbub.webhooks.attach import Webhooks, attach_webhooks
from hubbub.webhooks.options import WebhookOptions
from hubbub.webhooks.signing import sign, verify

__all__ = ["WebhookOptions", "Webhooks", "attach_webhooks", "sign", "verify"]
