"""A program on the Python client that does nothing but receive.

Says READY when it has joined, and when COUNT messages have come one line of JSON: how many were out of order.
"""

import argparse
import asyncio
import json
import threading

from msgspec import Struct

from hubbub.client import Client, SyncClient


class Order(Struct):
    """What is published, as a type."""

    t: int
    n: int
    pad: str


async def listen(port: int, group: str, count: int, binary: bool) -> None:
    async with Client(f"ws://127.0.0.1:{port}", "listener", binary=binary) as client:
        orders = client.group(group, Order)
        await orders.join()
        print("READY", flush=True)
        expected = wrong = received = 0
        async for message in orders:
            order = message.data
            if order.n != expected:
                wrong += 1
            expected = order.n + 1
            received += 1
            if received == count:
                break
        print(json.dumps({"wrong": wrong, "received": received}), flush=True)
        await asyncio.Event().wait()


def listen_without_await(port: int, group: str, count: int) -> None:
    with SyncClient(f"ws://127.0.0.1:{port}", "listener") as client:
        orders = client.group(group, Order)
        orders.join()
        print("READY", flush=True)
        expected = wrong = received = 0
        for message in orders:
            order = message.data
            if order.n != expected:
                wrong += 1
            expected = order.n + 1
            received += 1
            if received == count:
                break
        print(json.dumps({"wrong": wrong, "received": received}), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("group")
    parser.add_argument("count", type=int)
    parser.add_argument("--binary", action="store_true")
    parser.add_argument("--sync", action="store_true")
    given = parser.parse_args()
    if given.sync:
        listen_without_await(given.port, given.group, given.count)
    else:
        asyncio.run(listen(given.port, given.group, given.count, given.binary))
