"""A nightly job that tells people how far it is: a plain script, with no server in it and no event loop.

    hubbub serve --broker redis://127.0.0.1:6379 --history-size 100
    python -m examples.publish_script redis://127.0.0.1:6379 alice bob

The first runs the server that people are connected to, the second writes the invoices of two of them. Whoever
wants to follow does so in a third window:

    hubbub subscribe jobs:invoices --all --client-id alice

The script needs the broker alone, and keeps what it publishes as the server does. Each step is published
under an idempotency key, so a job that is run again shows no step a second time.
"""

import sys
import time

from hubbub import BrokerUnavailable, Namespace, Publisher

PAUSE = 0.1


def write_invoices(publisher: Publisher, customers: list[str]) -> None:
    """One for each customer, who is told so; whoever follows the job is shown how far it is."""
    month = time.strftime("%Y-%m")
    for done, customer in enumerate(customers, 1):
        time.sleep(PAUSE)  # stands for the work
        position = publisher.publish(
            "jobs:invoices",
            {"customer": customer, "done": done, "of": len(customers)},
            idempotency_key=f"{month} {customer}",
        )
        publisher.notify(customer, {"text": f"Your invoice for {month} is ready."})
        print(f"{customer}: told, as number {position.offset if position else 0}", flush=True)


def main(broker: str, *customers: str) -> None:
    """Write the invoices; complain where nobody can be told."""
    with Publisher(broker, default_namespace=Namespace(history_size=100)) as publisher:
        try:
            write_invoices(publisher, list(customers))
        except BrokerUnavailable as problem:
            sys.exit(f"nobody can be told: {problem}")


if __name__ == "__main__":
    main(*sys.argv[1:])
