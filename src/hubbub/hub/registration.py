"""How an application gives a hub its hooks."""

from collections.abc import Callable
from typing import Any, TypeVar

from hubbub.hub.hooks import Hook, Hooks, RpcMethod, has_dependencies

F = TypeVar("F", bound=Callable[..., Any])


class Registration:
    """The decorators of a hub."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks

    def on_connect(self, hook: F) -> F:
        """Ask `hook(request: ConnectRequest) -> Identity | None` about every client at the door.

        Further parameters may be FastAPI dependencies.
        """
        if has_dependencies(hook):
            from hubbub.http.dependencies import solved

            self.hooks.connect.append(solved(hook))
        else:
            self.hooks.connect.append(hook)
        return hook

    def on_disconnect(self, hook: F) -> F:
        """Tell `hook(session: SessionInfo)` of every connection that ended."""
        self.hooks.disconnect.append(hook)
        return hook

    def on_refresh(self, hook: F) -> F:
        """Ask `hook(session: SessionInfo) -> Identity | None` about every identity that has expired."""
        self.hooks.refresh.append(hook)
        return hook

    def on_connected(self, hook: F) -> F:
        """Tell `hook(session: SessionInfo)` of every client that was let in and greeted."""
        self.hooks.connected.append(hook)
        return hook

    def on_occupied(self, hook: F) -> F:
        """Tell `hook(channel)` of every group that gets its first member on any node."""
        self.hooks.occupied.append(hook)
        return hook

    def on_vacated(self, hook: F) -> F:
        """Tell `hook(channel)` of every group that has lost its last member."""
        self.hooks.vacated.append(hook)
        return hook

    def on_subscribe(self, pattern: str = "*") -> Callable[[F], F]:
        """Ask `hook(session, **fields) -> bool | None` whether a client may join a channel of the pattern."""
        return self._hook(self.hooks.subscribe.add, pattern)

    def on_unsubscribe(self, pattern: str = "*") -> Callable[[F], F]:
        """Tell `hook(session, **fields)` of every member that left a channel of the pattern."""
        return self._hook(self.hooks.unsubscribe.add, pattern)

    def on_publish(self, pattern: str = "*") -> Callable[[F], F]:
        """Ask `hook(session, data, **fields) -> bool | None` whether a client may publish this."""
        return self._hook(self.hooks.publish.add, pattern)

    def rpc(self, method: str) -> Callable[[F], F]:
        """Let clients call `hook(session, data) -> result`; data is decoded to its annotated type."""

        def register(hook: F) -> F:
            self.hooks.rpc[method] = RpcMethod(hook)
            return hook

        return register

    @staticmethod
    def _hook(add: Callable[[str, Hook], None], pattern: str) -> Callable[[F], F]:
        def register(hook: F) -> F:
            add(pattern, hook)
            return hook

        return register
