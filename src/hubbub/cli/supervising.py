"""What `hubbub serve --workers` does: check, listen, and keep several processes that serve."""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hubbub.brokers.memory import MemoryBroker
from hubbub.cli.ends import Ended, SaidNo, WrongUsage
from hubbub.cli.serving import (
    AMISS,
    address_of,
    announce,
    check_tls,
    in_one_line,
    open_app,
    read_signs,
    say_stopping,
    serve_app,
    set_up_logging,
)
from hubbub.hub import Hub
from hubbub.server import check_exposure, listen
from hubbub.settings import Settings
from hubbub.workers.embedded import NoValkey, Valkey
from hubbub.workers.link import Failed, WorkerEnd
from hubbub.workers.server import WorkerServer
from hubbub.workers.supervisor import NoWorker, Supervisor


def run_workers(settings: Settings, target: str | None, *, broker_label: str) -> None:
    """Keep `settings.workers` processes that serve the app, until a signal ends them."""
    with in_one_line(settings, broker_label), _folder() as folder:
        if target is None:  # else it is the worker's to look into the app
            check_exposure(settings)
        check_tls(settings)
        valkey = _meeting_point(settings, target, folder, broker_label)
        listener = listen(settings.host, settings.port)
        address = address_of(listener)
        signs = []
        if valkey is not None:
            settings = settings.model_copy(update={"broker": valkey.url})
            signs.append(("broker", f"embedded Valkey on {valkey.url}"))

        def work(link: WorkerEnd) -> int:
            return _serve(settings, target, link, address, broker_label)

        def on_ready(greeting: Any) -> None:
            announce(target, address, [*greeting, *signs], workers=settings.workers)

        def on_stop(connections: int) -> None:
            if connections:
                say_stopping()

        set_up_logging(settings)
        supervisor = Supervisor(
            listener,
            settings.workers,
            work,
            folder=folder,
            valkey=valkey,
            on_ready=on_ready,
            on_stop=on_stop,
        )
        try:
            supervisor.run()
        except NoWorker as exc:
            raise _ended(exc.code, str(exc)) from exc
        except NoValkey as exc:
            raise SaidNo(str(exc)) from exc


def _meeting_point(settings: Settings, target: str | None, folder: Path, label: str) -> Valkey | None:
    """The Valkey to start, where workers were given no broker."""
    if target is not None:
        return None
    if "broker" not in settings.model_fields_set:
        try:
            return Valkey(folder)
        except NoValkey as exc:
            raise WrongUsage(str(exc)) from exc
    if settings.broker.startswith("memory:"):
        raise WrongUsage(
            f"{label}: {settings.broker} cannot join workers; give a redis:// URL, or leave it out"
        )
    return None


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder for as long as the supervisor is there; a worker never comes back to the end of it."""
    folder = Path(tempfile.mkdtemp(prefix="hubbub-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(settings: Settings, target: str | None, link: WorkerEnd, address: str, broker_label: str) -> int:
    """In a worker: all that it does. Why it cannot serve, its supervisor will say, once for all of them."""
    logging.getLogger("hubbub").handlers.clear()  # they are the supervisor's
    try:
        with in_one_line(settings, broker_label):
            app = open_app(settings, target)
        server = WorkerServer(app, settings, link, lambda: _greeting(settings, target, app, address))
        serve_app(server, settings, target, speaker=f"worker {link.number}")
    except Ended as exc:
        link.say(Failed(exc.code, str(exc)))
        return exc.code
    return 0


def _greeting(settings: Settings, target: str | None, app: Any, address: str) -> list[tuple[str, str]]:
    signs = read_signs(settings, target, app, address)
    if any(isinstance(hub.broker, MemoryBroker) for hub in Hub.running):
        alone = f"a hub of {target} keeps to its own worker; give it a broker: Hub('redis://…')"
        signs.append((AMISS, alone))
    return signs


def _ended(code: int, sentence: str) -> Ended:
    kind = next((kind for kind in (SaidNo, WrongUsage) if kind.code == code), SaidNo)
    return kind(sentence)
