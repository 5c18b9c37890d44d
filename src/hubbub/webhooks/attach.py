"""Attaches webhooks to a hub: they are hooks like any other, which ask a backend over HTTP."""

import logging

from hubbub.hub import Hub
from hubbub.webhooks.calls import Calls
from hubbub.webhooks.metrics import WebhookMetrics
from hubbub.webhooks.notifications import Notifications
from hubbub.webhooks.options import WebhookOptions
from hubbub.webhooks.post import Poster

logger = logging.getLogger("hubbub.webhooks")


class Webhooks:
    """The webhooks of one hub. They start before it lets anybody in, and stop when everybody has left."""

    def __init__(self, hub: Hub, options: WebhookOptions) -> None:
        self.poster = Poster(options.secrets, options.max_answer_bytes)
        metrics = WebhookMetrics(hub.metrics.registry)
        self.calls = Calls(hub, options, self.poster, metrics)
        self.notifications = Notifications(
            hub.node_id, options.events, self.poster, options, metrics, timestamp=hub.timestamp
        )

    async def start(self) -> None:
        """Get ready, in the running event loop."""
        await self.poster.start()
        self.notifications.start()

    async def stop(self) -> None:
        """Deliver what is still to be told, for a while, and let go of the backend; idempotent."""
        await self.notifications.stop()
        await self.poster.stop()


def attach_webhooks(hub: Hub, options: WebhookOptions) -> Webhooks | None:
    """Have a hub ask and tell a backend. None where no URL is set; to be called before the hub starts."""
    if not options:
        return None
    if options.timeout > hub.options.hook_timeout:
        raise ValueError(
            f"a webhook may take {options.timeout:g} seconds and a hook {hub.options.hook_timeout:g}; "
            "give it no more than hook_timeout"
        )
    if not options.secrets:
        logger.warning("webhooks are not signed; set a secret, so that the backend knows who asks")
    webhooks = Webhooks(hub, options)
    calls, notifications = webhooks.calls, webhooks.notifications
    if options.connect:
        hub.on_connect(calls.connect)
    if options.subscribe:
        hub.on_subscribe("*")(calls.subscribe)
    if options.publish:
        hub.on_publish("*")(calls.publish)
    if options.rpc:
        hub.hooks.rpc_fallback = calls.rpc
    if options.refresh:
        hub.on_refresh(calls.refresh)
    if options.events:
        hub.on_connected(notifications.connected)
        hub.on_disconnect(notifications.disconnected)
        hub.on_occupied(notifications.occupied)
        hub.on_vacated(notifications.vacated)
    hub.companions.append(webhooks)
    return webhooks
