"""A shop in Flask that tells whoever waits for an order what becomes of it; Hubbub runs beside it.

    hubbub serve --broker redis://127.0.0.1:6379 --history-size 100
    flask --app examples.flask_shop run --port 5000

Wait for an order in one window, and ship it in another one:

    hubbub subscribe orders:42
    curl -X PUT http://127.0.0.1:5000/orders/42 -d status=shipped

The shop finds the broker by the environment variable `BROKER`. It has one publisher, which any number of
threads and of worker processes share.
"""

import os
from http import HTTPStatus

from flask import Flask, abort, request

from hubbub import BrokerUnavailable, Namespace, Publisher

STATUSES = ("ordered", "packed", "shipped")

app = Flask(__name__)
publisher = Publisher(
    os.environ.get("BROKER", "redis://127.0.0.1:6379"),
    default_namespace=Namespace(history_size=100),  # as the server's --history-size
)
orders: dict[int, str] = {}


@app.get("/orders/<int:number>")
def show(number: int) -> dict[str, str]:
    """What has become of an order."""
    return {"status": orders.get(number, "ordered")}


@app.put("/orders/<int:number>")
def update(number: int) -> tuple[dict[str, str], HTTPStatus]:
    """Something has become of an order, and whoever waits for it is told."""
    status = request.form.get("status", "")
    if status not in STATUSES:
        abort(HTTPStatus.BAD_REQUEST, f"status is one of {', '.join(STATUSES)}")
    orders[number] = status
    told = tell(number, status)
    return {"status": status}, HTTPStatus.OK if told else HTTPStatus.ACCEPTED


def tell(number: int, status: str) -> bool:
    """Publish it. An order is shipped whether or not somebody can be told so."""
    try:
        publisher.publish(f"orders:{number}", {"status": status})
    except BrokerUnavailable as problem:
        app.logger.warning("nobody is told of order %d: %s", number, problem)
        return False
    return True
