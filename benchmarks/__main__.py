"""`python -m benchmarks`: runs the scenarios and prints what they measured beside what is promised."""

import argparse
import shlex
import sys

from benchmarks import client, connect, fanout, hostile, memory, mixed, nodes, report
from benchmarks.harness import BUILD, BenchError, prepare
from benchmarks.options import Options

NAMES = ("fanout", "peers", "mixed", "memory", "connect", "nodes", "hostile", "client")


def parse() -> tuple[list[str], Options]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"any of {', '.join(NAMES)}; all of them if none"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: few connections, short phases")
    parser.add_argument("--connections", type=int, metavar="N", help="5000, or 200 if quick")
    parser.add_argument("--serve-args", default="", metavar="ARGS", help="more arguments for `hubbub serve`")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no scenario called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    serve_arguments = shlex.split(given.serve_args)
    if given.quick:
        connections = given.connections or 200
        options = Options(
            connections=connections,
            many_connections=3 * connections,
            turns=3,
            peer_turns=1,
            mixed_seconds=2,
            latency_samples=200,
            channels=100,
            inbound_publications=10_000,
            publishes=5_000,
            node_turns=1,
            hostile=200,
            hostile_seconds=12,
            client_messages=20_000,
            serve_arguments=serve_arguments,
        )
    else:
        options = Options(connections=given.connections or 5000, serve_arguments=serve_arguments)
    return given.names or list(NAMES), options


def main() -> int:
    names, options = parse()
    results = report.Results()
    status = 0
    try:
        run(names, options, results)
    except BenchError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    # What was measured before an error took minutes, too.
    report.show(results, options)
    report.write(results, options, BUILD / "results.json")
    return status


def run(names: list[str], options: Options, results: report.Results) -> None:
    prepare(max(options.connections, options.many_connections if "memory" in names else 0))
    ways = [fanout.HUBBUB] * ("fanout" in names) + list(fanout.PEERS) * ("peers" in names)
    if ways:
        results.fanout = fanout.run(options, ways)
    if "mixed" in names:
        results.mixed = mixed.run(options)
    if "memory" in names:
        results.memory = memory.run(options)
    if "connect" in names:
        results.connect = connect.run(options)
        results.guarded = connect.run_guarded(options)
    if "nodes" in names:
        results.nodes = nodes.run(options)
    if "hostile" in names:
        results.hostile = hostile.run(options)
    if "client" in names:
        results.client = client.run(options)


if __name__ == "__main__":
    sys.exit(main())
