"""A WebSocket server that echoes, and remembers who came.

usage: websocket_server.py NAME

The answer to the handshake says `x-origin: NAME`. Messages come back as they are, but for the text
`close CODE REASON`, which is done. What is no WebSocket is answered with 200, or what it is told."""

import asyncio
import http
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

import lines


async def main():
    name = sys.argv[1]
    opened, live, closed, requests = 0, set(), [], []
    plain_status = http.HTTPStatus.OK

    def named(connection, request, response):
        requests.append([[key, value] for key, value in request.headers.raw_items()])
        response.headers["x-origin"] = name
        return response

    async def echo(connection):
        nonlocal opened
        opened += 1
        live.add(connection)
        try:
            async for message in connection:
                if isinstance(message, str) and message.startswith("close "):
                    _, code, reason = message.split(" ", 2)
                    await connection.close(int(code), reason)
                else:
                    await connection.send(message)
        except ConnectionClosed:
            pass
        finally:
            await connection.wait_closed()
            live.discard(connection)
            closed.append([connection.close_code, connection.close_reason])

    def no_websocket(connection, request):
        if "upgrade" not in request.headers:
            return connection.respond(plain_status, f"{name}\n")

    async def plain(status):
        nonlocal plain_status
        plain_status = http.HTTPStatus(status)

    async def seen():
        return {"opened": opened, "open": len(live), "closed": closed,
                "headers": requests[-1] if requests else []}

    # No pings of its own, so that a test sees only those that it sent.
    async with serve(echo, "127.0.0.1", 0, process_request=no_websocket, process_response=named,
                     compression=None, ping_interval=None, max_size=1 << 26) as server:
        lines.say({"port": server.sockets[0].getsockname()[1]})
        await lines.answer({"seen": seen, "plain": plain})


asyncio.run(main())
