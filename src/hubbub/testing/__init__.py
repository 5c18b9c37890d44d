"""What we ship for tests: contract suites for brokers and presence, a client in memory, a clock to turn."""

from hubbub.testing.client import MemoryClient
from hubbub.testing.clock import FakeClock
from hubbub.testing.contracts import BrokerContract, PresenceContract

__all__ = ["BrokerContract", "FakeClock", "MemoryClient", "PresenceContract"]
