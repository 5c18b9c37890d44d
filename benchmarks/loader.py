"""A process that publishes straight into Redis, as another node would: the Redis broker without a hub.

`python -m benchmarks.loader URL`. Each line on stdin is a `Work` in JSON, each on stdout what came of it.
"""

import asyncio
import json
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass

import uvloop
from msgspec import Raw

from benchmarks.harness import LOAD_CPU, Process, python_module
from hubbub.brokers.base import Broker, BrokerUnavailable, PublishOptions, open_broker
from hubbub.core.messages import Publication


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """`count` publications to `channels` channels in turn, `in_flight` at once, at most `rate` a second.

    The data is `{"t":<ns>,"pad":"xxx"}`, with so many x.
    """

    count: int
    channels: int
    in_flight: int = 256
    rate: float = 0
    history_size: int = 0
    pad: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it: wall time, CPU time of the loader, and publications that failed."""

    seconds: float
    cpu_s: float
    failed: int


class Loader(Process):
    """A running loader."""

    def __init__(self, url: str, *, cpus: set[int] = LOAD_CPU) -> None:
        super().__init__("loader", python_module("benchmarks.loader", url), cpus)
        try:
            self._answer(20)
        except BaseException:
            self.end()
            raise

    def work(self, work: Work, timeout: float = 120) -> Done:
        """Has it publish, and returns when the last has been acknowledged."""
        self.write_line(json.dumps({name: getattr(work, name) for name in Work.__slots__}))
        return Done(**json.loads(self._answer(timeout)))

    def _answer(self, timeout: float) -> str:
        line = self.read_line(timeout)
        if line is None:
            raise self.error(f"has not answered within {timeout:.0f} seconds")
        return line


class Nobody:
    """A sink that listens to nothing."""

    def deliver(self, publication: Publication, epoch: str = "") -> None:
        pass

    def control(self, message: bytes) -> None:
        pass

    def interrupted(self, channels: Collection[str]) -> None:
        pass

    def garbage(self, name: str, reason: str) -> None:
        pass

    async def room(self) -> None:
        pass


async def publish(broker: Broker, work: Work) -> Done:
    """Publishes until all is done."""
    numbers = iter(range(work.count))
    options = PublishOptions(history_size=work.history_size)
    names = [f"g{i}" for i in range(work.channels)]
    pad = b"x" * work.pad
    began, cpu = time.monotonic(), time.process_time()
    failed = 0

    async def publisher() -> None:
        nonlocal failed
        for number in numbers:
            if work.rate and (early := began + number / work.rate - time.monotonic()) > 0:
                await asyncio.sleep(early)
            publication = Publication(
                channel=names[number % work.channels],
                data=Raw(b'{"t":%d,"pad":"%s"}' % (time.monotonic_ns(), pad)),
                timestamp="2026-03-01T12:00:00.250000+00:00",
            )
            try:
                await broker.publish(publication, options)
            except BrokerUnavailable:
                failed += 1

    async with asyncio.TaskGroup() as publishers:
        for _ in range(work.in_flight):
            publishers.create_task(publisher())
    return Done(seconds=time.monotonic() - began, cpu_s=time.process_time() - cpu, failed=failed)


async def main(url: str) -> None:
    broker, _ = open_broker(url)
    await broker.start(Nobody(), "loader")
    print("READY", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        done = await publish(broker, Work(**json.loads(line)))
        print(json.dumps({name: getattr(done, name) for name in Done.__slots__}), flush=True)
    await broker.stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
