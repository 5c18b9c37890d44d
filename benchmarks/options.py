"""How much of everything a run does."""

import sys
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The sizes of a full run."""

    connections: int = 5000
    many_connections: int = 15_000
    # Many short turns: two equal servers then came out within 4 % of each other, with three long ones 8 %.
    turns: int = 9
    singles: int = 7
    bursts: int = 2
    # The peers are up to a hundred times slower, and no promise depends on them.
    peer_turns: int = 3
    peer_singles: int = 3
    peer_bursts: int = 1
    connect_rounds: int = 3
    mixed_seconds: float = 10
    # Of `nodes`.
    latency_samples: int = 2000
    latency_rate: float = 100
    channels: int = 1000
    inbound_publications: int = 100_000
    inbound_rate: float = 2000
    publishes: int = 50_000
    node_turns: int = 3
    # Of `hostile`.
    hostile: int = 2000
    hostile_seconds: float = 40
    # Of `client`.
    client_messages: int = 100_000
    serve_arguments: list[str] = field(default_factory=list)

    def say(self, what: str) -> None:
        """Tells whoever waits what is going on."""
        print(f"… {what}", file=sys.stderr, flush=True)
