"""Who may use the server API: keys, compared in constant time."""

import hmac
from collections.abc import Mapping


class ApiKeys:
    """The keys that open the server API. Without any, it is open."""

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        self._keys = [key.encode() for key in keys if key]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def allow(self, headers: Mapping[str, str]) -> bool:
        """Whether a request carries a key, as `X-API-Key: …` or `Authorization: apikey …`."""
        if not self._keys:
            return True
        given = headers.get("x-api-key", "")
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if not given and scheme.lower() == "apikey":
            given = credentials.strip()
        # Every key is compared, whatever the earlier ones said.
        # Headers are read as Latin-1, whatever the client meant.
        return sum(hmac.compare_digest(given.encode("latin-1"), key) for key in self._keys) > 0
