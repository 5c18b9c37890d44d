"""Crowds at the door: shed with a word about when to come back, while those who are in stay served."""

import threading

from ..transports.clients import RawClient, client
from ..transports.serving import Running, eventually
from .siege import guarded, knock, limited, member, served, token, unguarded


def storm(server: Running, count: int, threads: int = 8, **headers: str) -> list[int]:
    """The statuses that so many clients are answered with which come at the same time, and go at once."""
    found: list[int] = []

    def come() -> None:
        for _ in range(count // threads):
            try:
                found.append(knock(server, **headers)[0])
            except (OSError, EOFError):
                found.append(0)

    crowd = [threading.Thread(target=come) for _ in range(threads)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(30)
    return found


def test_a_storm_with_bad_tokens_gets_nowhere() -> None:
    """Each is answered 401, none is counted as inside, and an honest client is served meanwhile."""
    with guarded() as server, member(server, "alice") as alice:
        attack = threading.Thread(
            target=lambda: statuses.extend(storm(server, 400, Authorization="Bearer a.b.c"))
        )
        statuses: list[int] = []
        attack.start()
        rounds = 0
        while attack.is_alive() or not rounds:
            served(alice)
            rounds += 1
        attack.join()
        assert set(statuses) == {401}
        assert len(statuses) == 400
        assert rounds > 3
        assert server.look(lambda: len(server.hub.connections)) == 1
        assert server.look(lambda: server.hub.gate._inside) == 1


def test_a_storm_is_shed_with_a_time_to_come_back() -> None:
    """Beyond the arrivals that a second holds: 503 and Retry-After, before anything is looked at."""
    with unguarded(arrivals_per_second=5.0, arrivals_burst=10) as server, client(server) as inside:
        statuses = storm(server, 80)
        assert set(statuses) == {101, 503}
        assert statuses.count(503) >= 40
        raw = RawClient(server)
        while (head := raw.handshake()).startswith(b"HTTP/1.1 101"):
            raw = RawClient(server)
        assert b"\r\nRetry-After: " in head
        assert limited(server, "arrivals") >= 40
        served(inside)


def test_one_address_fills_no_server() -> None:
    """429 for one too many of an address, counted by what the proxy says; others still come in."""
    with unguarded(connections_per_address=5) as server:
        inside = []
        for _ in range(5):
            status, raw = knock(server, X_Forwarded_For="6.6.6.6")
            assert status == 101
            inside.append(raw)
        assert knock(server, X_Forwarded_For="6.6.6.6")[0] == 429
        assert knock(server, X_Forwarded_For="1.2.3.4, 6.6.6.6")[0] == 429
        assert knock(server, X_Forwarded_For="9.9.9.9")[0] == 101
        inside.pop().vanish()
        eventually(lambda: knock(server, X_Forwarded_For="6.6.6.6")[0] == 101)


def test_a_household_of_ipv6_is_one_address() -> None:
    """All that one customer can make up in his /64 counts together."""
    with unguarded(connections_per_address=5) as server:
        kept = [knock(server, X_Forwarded_For=f"2001:db8:1:2::{n:x}") for n in range(1, 7)]
        assert [status for status, _ in kept] == [101] * 5 + [429]
        assert knock(server, X_Forwarded_For="2001:db8:1:3::1")[0] == 101


def test_one_user_fills_no_server() -> None:
    """As many connections as a user may have; others' are their own."""
    with guarded(connections_per_user=3) as server:
        kept = [knock(server, Authorization=f"Bearer {token('bob')}") for _ in range(4)]
        assert [status for status, _ in kept] == [101, 101, 101, 429]
        with member(server, "alice") as alice:
            served(alice)


def test_a_full_server_says_so() -> None:
    """503 and when to come back; a place that is given back is there for the next."""
    with unguarded(max_connections=3) as server:
        kept = [knock(server)[1] for _ in range(3)]
        assert knock(server)[0] == 503
        kept.pop().vanish()
        eventually(lambda: knock(server)[0] == 101)
