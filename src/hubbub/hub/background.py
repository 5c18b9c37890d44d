"""Work that nobody waits for."""

import logging
from collections.abc import Coroutine
from typing import Any

from hubbub.brokers.base import BrokerUnavailable
from hubbub.hub.hooks import Refuse

logger = logging.getLogger("hubbub")


async def quietly(work: Coroutine[Any, Any, Any], what: str) -> None:
    """Do it; what fails is logged and goes no further."""
    try:
        await work
    except (Refuse, BrokerUnavailable) as exc:
        logger.warning("%s: %s", what, exc)
    except Exception:
        logger.exception("%s failed", what)
