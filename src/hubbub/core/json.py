"""What may be published: anything that has a JSON text."""

import msgspec
from msgspec import Raw


def to_json(value: object) -> Raw:
    """JSON text of any value: builtins, dataclasses, msgspec Structs and pydantic models."""
    if isinstance(value, Raw):
        return value
    return Raw(msgspec.json.encode(value, enc_hook=_model_to_builtins))


def _model_to_builtins(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(f"{type(value).__name__} cannot be turned into JSON")
    return dump(mode="json")
