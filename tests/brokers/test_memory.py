"""The memory broker and presence keep their contracts, and nothing that has outlived its time."""

import asyncio

import pytest

from hubbub.brokers import memory
from hubbub.brokers.base import BadBroker, PublishOptions, open_broker
from hubbub.brokers.memory import MemoryBroker, MemoryPresence
from hubbub.testing import BrokerContract, FakeClock, PresenceContract
from hubbub.testing.contracts import publication


class TestMemoryBroker(BrokerContract):
    """Every clause, with a clock that is turned by hand."""

    def make_broker(self) -> MemoryBroker:
        self.clock = FakeClock()
        return MemoryBroker(self.clock)

    async def let_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)


class TestMemoryPresence(PresenceContract):
    """Every clause."""

    def make_presence(self) -> MemoryPresence:
        return MemoryPresence()


def test_channels_out_of_use_are_forgotten() -> None:
    """Memory follows the channels in use, not those ever used."""

    async def scenario() -> None:
        clock = FakeClock()
        broker = MemoryBroker(clock)
        for number in range(100):
            options = PublishOptions(history_size=10, history_ttl=5, idempotency_key="k", idempotency_ttl=5)
            await broker.publish(publication(f"c{number}"), options)
        clock.advance(memory.STREAM_TTL + 10)
        await broker.publish(publication("last"), PublishOptions(history_size=1))
        assert set(broker._streams) == set(broker._used) == {"last"}
        assert not broker._results

    asyncio.run(scenario())


def test_an_unknown_broker_is_refused_with_those_that_are_known() -> None:
    """A wrong URL is answered with what would be right."""
    with pytest.raises(BadBroker, match=r"no broker goes by 'kafka'; give one of memory://"):
        open_broker("kafka://x")
