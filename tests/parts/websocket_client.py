"""A WebSocket client that does as it is told.

usage: websocket_client.py
"""

import asyncio
import ssl

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import lines

streams = {}


async def open_one(stream, url, headers=(), ca=None, name=None):
    context = None
    if ca:
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols(["http/1.1"])
    try:
        connection = await connect(
            url, additional_headers=[tuple(pair) for pair in headers], ssl=context,
            server_hostname=name, ping_interval=None, compression=None, proxy=None,
            max_size=1 << 26)
    except InvalidStatus as refused:
        return {"status": refused.response.status_code,
                "headers": [list(pair) for pair in refused.response.headers.raw_items()]}
    streams[stream] = connection
    response = connection.response
    return {"status": response.status_code,
            "headers": [list(pair) for pair in response.headers.raw_items()]}


async def tell(stream, message):
    """Sends a text and waits for nothing."""
    await streams[stream].send(message)


async def send(stream, message=None, binary=None):
    """Sends a text, or so many bytes, and waits for what comes back."""
    sent = message if binary is None else bytes(range(256)) * (binary // 256)
    await streams[stream].send(sent)
    reply = await streams[stream].recv()
    return {"same": reply == sent, "reply": reply if isinstance(reply, str) else len(reply)}


async def ping(stream):
    await (await streams[stream].ping(b"are you there"))
    return {"pong": True}


async def wait(stream):
    """Waits for the end, and gives what the server said of it: 1006 when it said nothing."""
    try:
        while True:
            await streams[stream].recv()
    except ConnectionClosed:
        pass
    return {"code": streams[stream].close_code, "reason": streams[stream].close_reason}


async def close(stream, code=1000, reason=""):
    await streams[stream].close(code, reason)
    return await wait(stream)


async def drop(stream):
    """Goes away without a word."""
    streams[stream].transport.abort()


async def main():
    lines.say({})
    await lines.answer({"open": open_one, "tell": tell, "send": send, "ping": ping, "wait": wait,
                        "close": close, "drop": drop})


asyncio.run(main())
