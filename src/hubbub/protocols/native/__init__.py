"""The native protocol: one set of messages, in JSON and in MessagePack."""

from hubbub.protocols.native.incoming import MAX_HISTORY, MAX_ID_BYTES
from hubbub.protocols.native.json import NativeJson
from hubbub.protocols.native.msgpack import NativeMsgpack

__all__ = ["MAX_HISTORY", "MAX_ID_BYTES", "NativeJson", "NativeMsgpack"]
