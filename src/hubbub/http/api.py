"""The server API: one function a method. Shapes are those that published server SDKs know.

Each method takes a JSON object and answers `{"result": {…}}` or `{"error": {"code": …, "message": …}}`, both
with HTTP 200: the request was understood. A body that is no JSON object is 400, a missing key 401, a key that
does not open so much 403.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from starlette.exceptions import HTTPException

from hubbub.auth import NotAllowed, Rights
from hubbub.brokers.base import BrokerUnavailable
from hubbub.core import codes
from hubbub.core.channels import BadName, check_group, check_name
from hubbub.core.codes import CloseReason
from hubbub.core.messages import ALL, BadCommand, Member, Publication
from hubbub.http.body import decode_object
from hubbub.http.requests import (
    BatchRequest,
    BroadcastRequest,
    ChannelRequest,
    ChannelsRequest,
    ConnectionsRequest,
    DisconnectRequest,
    HistoryRequest,
    InvalidateRequest,
    NoRequest,
    PublishRequest,
    SubscribeRequest,
    WhoRequest,
)
from hubbub.hub import Hub, Refuse

BATCH_LIMIT: Final = 1000
HISTORY_LIMIT: Final = 1000
OF_CLIENTS: Final = ("$client:", "$user:")
"""Begin the channels that clients listen to without joining them; others with a `$` are the server's own."""


def check_channel(channel: str) -> None:
    """Refuse a channel that is not legal, or that the server keeps to itself. Raises `BadName`."""
    check_name(channel, "field `channel`")
    if channel[0] == "$" and channel != ALL and not channel.startswith(OF_CLIENTS):
        raise BadName("field `channel` begins with '$', which is reserved; choose another first character")


async def publish(hub: Hub, request: PublishRequest) -> dict[str, Any]:
    """Publish into one channel; the result is its position, empty without history."""
    check_channel(request.channel)
    position = await hub.publish_raw(
        request.channel,
        request.json(),
        key=request.key,
        tags=request.tags,
        idempotency_key=request.idempotency_key,
        skip_history=request.skip_history,
    )
    return {} if position is None else {"offset": position.offset, "epoch": position.epoch}


async def broadcast(hub: Hub, request: BroadcastRequest) -> dict[str, Any]:
    """Publish the same data into several channels; one response a channel."""
    if not request.channels:
        raise BadCommand("field `channels` is empty; name at least one")
    data = request.json()

    async def one(channel: str) -> dict[str, Any]:
        single = PublishRequest(
            channel=channel,
            data=data,
            skip_history=request.skip_history,
            tags=request.tags,
            idempotency_key=request.idempotency_key,
            key=request.key,
        )
        return await answer(publish(hub, single))

    return {"responses": [await one(channel) for channel in request.channels]}


async def subscribe(hub: Hub, request: SubscribeRequest) -> dict[str, Any]:
    """Put every connection of a user or a client into a channel, wherever it is."""
    await hub.subscribe(request.channel, **request.who())
    return {}


async def unsubscribe(hub: Hub, request: SubscribeRequest) -> dict[str, Any]:
    """Take every connection of a user or a client out of a channel."""
    await hub.unsubscribe(request.channel, **request.who())
    return {}


async def disconnect(hub: Hub, request: DisconnectRequest) -> dict[str, Any]:
    """Close every connection of a user or a client, wherever it is."""
    if request.whitelist:
        raise BadCommand("field `whitelist` is not supported; leave it out", error=codes.NOT_AVAILABLE)
    reason = codes.FORCE_DISCONNECT
    if request.disconnect is not None:
        reason = CloseReason(request.disconnect.code, request.disconnect.reason)
        if not 3000 <= reason.code <= 4999:
            raise BadCommand(f"field `disconnect.code` is {reason.code}; give 3000 to 4999")
    await hub.disconnect(**request.who(), reason=reason)
    return {}


async def refresh(hub: Hub, request: WhoRequest) -> dict[str, Any]:
    """Prolong a connection that expires; none does without tokens."""
    request.who()
    raise BadCommand("connections do not expire here", error=codes.NOT_AVAILABLE)


async def invalidate(hub: Hub, request: InvalidateRequest) -> dict[str, Any]:
    """Take their worth from tokens, and close the connections that came in with them."""
    if not request.user and not request.token_id and request.issued_before is None:
        raise BadCommand("fields `user`, `token_id` and `issued_before` are all missing; give one")
    await hub.invalidate(user=request.user, token_id=request.token_id, issued_before=request.issued_before)
    return {}


async def presence(hub: Hub, request: ChannelRequest) -> dict[str, Any]:
    """Who is in a channel, by connection id."""
    check_group(request.channel, "field `channel`")
    members = await hub.presence(request.channel)
    return {"presence": {id: _member(id, member) for id, member in members.items()}}


def _member(id: str, member: Member) -> dict[str, Any]:
    shown: dict[str, Any] = {"client": id, "user": member.user, "client_id": member.client_id}
    return shown if member.info is None else shown | {"conn_info": member.info}


async def presence_stats(hub: Hub, request: ChannelRequest) -> dict[str, Any]:
    """How many are in a channel."""
    check_group(request.channel, "field `channel`")
    members = (await hub.presence(request.channel)).values()
    users = {member.user or f"client {member.client_id}" for member in members}
    return {"num_clients": len(members), "num_users": len(users)}


async def history(hub: Hub, request: HistoryRequest) -> dict[str, Any]:
    """Publications of a channel and the position of the newest."""
    check_channel(request.channel)
    if not -1 <= request.limit <= HISTORY_LIMIT:
        raise BadCommand(f"field `limit` is {request.limit}; give -1 to {HISTORY_LIMIT}")
    limit = HISTORY_LIMIT if request.limit == -1 else request.limit
    page = await hub.history(request.channel, since=request.since, limit=limit, reverse=request.reverse)
    return {
        "publications": [_publication(publication) for publication in page.publications],
        "offset": page.position.offset,
        "epoch": page.position.epoch,
    }


def _publication(publication: Publication) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "data": publication.data,
        "offset": publication.offset,
        "timestamp": publication.timestamp,
    }
    if publication.client_id:
        shown["from"] = publication.client_id
    return shown if publication.tags is None else shown | {"tags": publication.tags}


async def history_remove(hub: Hub, request: ChannelRequest) -> dict[str, Any]:
    """Let go of a channel's publications."""
    check_channel(request.channel)
    await hub.broker.remove_history(request.channel)
    return {}


async def channels(hub: Hub, request: ChannelsRequest) -> dict[str, Any]:
    """Channels with members, by glob pattern."""
    groups = await hub.cluster.groups(request.pattern)
    return {"channels": {name: {"num_clients": count} for name, count in groups.items()}}


async def info(hub: Hub, request: NoRequest) -> dict[str, Any]:
    """The nodes and what is on them."""
    return {
        "nodes": [
            {
                "uid": node.uid,
                "name": node.name,
                "version": node.version,
                "num_clients": node.connections,
                "num_users": node.users,
                "num_subs": node.subscriptions,
                "num_channels": node.channels,
                "uptime": node.uptime,
            }
            for node in [hub.cluster.this_node(), *hub.cluster.peers]
        ]
    }


async def connections(hub: Hub, request: ConnectionsRequest) -> dict[str, Any]:
    """Open connections on every node, by connection id."""
    return {"connections": await hub.cluster.connections(request.client, request.user)}


async def batch(hub: Hub, request: BatchRequest, rights: Rights) -> dict[str, Any]:
    """Several methods at once; replies stand in the order of the commands."""
    if len(request.commands) > BATCH_LIMIT:
        raise BadCommand(f"field `commands` holds {len(request.commands)}; send at most {BATCH_LIMIT}")

    async def one(command: dict[str, Raw]) -> dict[str, Any]:
        if len(command) != 1:
            return error_answer(codes.BAD_REQUEST, "a batch command is an object with one method")
        [(name, body)] = command.items()
        if name not in METHODS or name == "batch":
            return error_answer(codes.METHOD_NOT_FOUND, f"no method {name[:60]!r} in a batch")
        try:
            reply = await call(hub, name, body, rights)
        except NotAllowed as exc:
            reply = error_answer(codes.PERMISSION_DENIED, str(exc))
        except HTTPException as exc:
            reply = error_answer(codes.BAD_REQUEST, f"{name}: {exc.detail}")
        return {name: reply["result"]} if "result" in reply else reply

    if request.parallel:
        return {"replies": await asyncio.gather(*(one(command) for command in request.commands))}
    return {"replies": [await one(command) for command in request.commands]}


def _none(request: Any) -> Iterable[str]:
    return ()


def _one(request: Any) -> Iterable[str]:
    return (request.channel,)


def _several(request: BroadcastRequest) -> Iterable[str]:
    return request.channels


def _narrow_channels(result: dict[str, Any], rights: Rights) -> None:
    shown = result["channels"]
    result["channels"] = {name: shown[name] for name in shown if rights.reaches("channels", name)}


def _narrow_connections(result: dict[str, Any], rights: Rights) -> None:
    for connection in result["connections"].values():
        channels = connection["channels"]
        connection["channels"] = [name for name in channels if rights.reaches("channels", name)]


@dataclass(frozen=True, slots=True)
class Method:
    """One method: what it takes and what performs it.

    channels: those that a request is about. narrow: takes from a result what the caller has no right to see.
    """

    request: type[Struct]
    perform: Callable[..., Awaitable[dict[str, Any]]]
    channels: Callable[[Any], Iterable[str]] = _none
    narrow: Callable[[dict[str, Any], Rights], None] | None = None


METHODS: Final = {
    "publish": Method(PublishRequest, publish, _one),
    "broadcast": Method(BroadcastRequest, broadcast, _several),
    "subscribe": Method(SubscribeRequest, subscribe, _one),
    "unsubscribe": Method(SubscribeRequest, unsubscribe, _one),
    "disconnect": Method(DisconnectRequest, disconnect),
    "refresh": Method(WhoRequest, refresh),
    "invalidate": Method(InvalidateRequest, invalidate),
    "presence": Method(ChannelRequest, presence, _one),
    "presence_stats": Method(ChannelRequest, presence_stats, _one),
    "history": Method(HistoryRequest, history, _one),
    "history_remove": Method(ChannelRequest, history_remove, _one),
    "channels": Method(ChannelsRequest, channels, narrow=_narrow_channels),
    "info": Method(NoRequest, info),
    "connections": Method(ConnectionsRequest, connections, narrow=_narrow_connections),
    "batch": Method(BatchRequest, batch),
}


async def call(hub: Hub, name: str, body: bytes | Raw, rights: Rights) -> dict[str, Any]:
    """Perform one method on a JSON object; what does not fit is an error answer. Raises `NotAllowed`."""
    method = METHODS[name]
    if name != "batch":  # each of its commands is checked
        rights.check(name)
    try:
        request = decode_object(bytes(body), method.request)
    except msgspec.ValidationError as exc:
        return error_answer(codes.BAD_REQUEST, f"{name}: {exc}")
    if name == "batch":
        reply = await answer(batch(hub, request, rights))
        # A batch is no method: its replies stand at the top, as published SDKs expect.
        replies: dict[str, Any] = reply.get("result", reply)
        return replies
    rights.check(name, method.channels(request))
    reply = await answer(method.perform(hub, request))
    if method.narrow is not None and "result" in reply:
        method.narrow(reply["result"], rights)
    return reply


async def answer(work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """A method's result or error, as the API shows it."""
    try:
        return {"result": await work}
    except BadName as exc:
        return error_answer(codes.BAD_REQUEST, str(exc))
    except BadCommand as exc:
        return error_answer(exc.error or codes.BAD_REQUEST, exc.message)
    except Refuse as exc:
        return error_answer(exc.error, exc.reason)
    except BrokerUnavailable as exc:
        return error_answer(codes.INTERNAL, f"the broker does not answer: {exc}")


def error_answer(error: codes.Error, message: str = "") -> dict[str, Any]:
    """An error, as the API shows it."""
    return {"error": {"code": error.code, "message": message or error.message}}
