"""What runs while a test is within it."""

from types import TracebackType
from typing import Self


class Running:
    """Starts on entry and is closed at the end, however that comes about."""

    def start(self) -> None:
        """Start, and return when it can be used."""
        raise NotImplementedError

    def close(self) -> None:
        """End it, in whatever state it is; idempotent."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
