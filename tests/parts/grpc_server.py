"""A gRPC server that does as it is told and remembers what it got.

usage: grpc_server.py NAME [CERT KEY]

It serves `/tidegate.test.Echo/{Unary,ServerStream,ClientStream,Bidi}` and the health service.
Messages are bytes, so no code has to be generated. Every reply begins with its name, and it says
`x-server: NAME` in the initial metadata.

A request says what it wants in its metadata:
  x-want-status N       ends with this status ...
  x-want-messages N     ... after N messages (a stream: of N messages)
  x-want-bytes N        each reply is padded to N bytes
  x-want-pause MS       before each reply
"""

import asyncio
import random
import sys

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

import lines

CODES = {code.value[0]: code for code in grpc.StatusCode}


class Echo:
    def __init__(self, name):
        self.name = name
        self.calls = 0
        self.last = []
        self.cancelled = 0
        # A status for this share of the requests that ask for none.
        self.failing = (0.0, 14)

    async def begin(self, context):
        self.calls += 1
        self.last = [[key, value if isinstance(value, str) else value.hex()]
                     for key, value in context.invocation_metadata()]
        asked = dict(self.last)
        self.deadline = context.time_remaining()
        status = int(asked.get("x-want-status", 0))
        share, failure = self.failing
        if not status and random.random() < share:
            status = failure
        context.add_done_callback(lambda _: self.done(asked))
        context.set_trailing_metadata([("x-trailer", self.name), *self.echoed(context)])
        if status and "x-want-messages" not in asked:
            asked["over"] = True
            await context.abort(CODES[status], f"as told: {status}")
        return asked, status

    def done(self, asked):
        """The call has ended; if not by this server, then before its time."""
        self.cancelled += "over" not in asked

    def echoed(self, context):
        return [(key, value) for key, value in context.invocation_metadata()
                if key.startswith("x-echo")]

    async def greet(self, asked, context):
        """The head of the answer, once."""
        if not asked.get("greeted"):
            asked["greeted"] = True
            await context.send_initial_metadata([("x-server", self.name), *self.echoed(context)])

    async def reply(self, asked, context, text):
        await asyncio.sleep(int(asked.get("x-want-pause", 0)) / 1000)
        await self.greet(asked, context)
        return f"{self.name} {text}".encode().ljust(int(asked.get("x-want-bytes", 0)), b".")

    async def end(self, asked, context, status):
        # A caller that goes away ends its messages, too.
        if context.done():
            return
        asked["over"] = True
        if status:
            await context.abort(CODES[status], f"as told: {status}")

    async def unary(self, request, context):
        asked, status = await self.begin(context)
        reply = await self.reply(asked, context, request.decode(errors="replace"))
        # A unary method of this library sends either a message or an error; a generic client does
        # not mind a stream of one, which can have both.
        await self.end(asked, context, status)
        return reply

    async def server_stream(self, request, context):
        asked, status = await self.begin(context)
        for number in range(int(asked.get("x-want-messages", 1))):
            yield await self.reply(asked, context, f"{number} {request.decode()}")
        await self.end(asked, context, status)

    async def client_stream(self, requests, context):
        asked, status = await self.begin(context)
        count = size = 0
        async for request in requests:
            count, size = count + 1, size + len(request)
        reply = await self.reply(asked, context, f"{count} {size}")
        await self.end(asked, context, status)
        return reply

    async def bidi(self, requests, context):
        asked, status = await self.begin(context)
        await self.greet(asked, context)
        async for request in requests:
            yield await self.reply(asked, context, request.decode(errors="replace"))
        await self.end(asked, context, status)


async def main():
    name, *pair = sys.argv[1:]
    echo = Echo(name)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tidegate.test.Echo", {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(echo.server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(echo.client_stream),
        "Bidi": grpc.stream_stream_rpc_method_handler(echo.bidi),
    })])
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    if pair:
        cert, key = (open(path, "rb").read() for path in pair)
        credentials = grpc.ssl_server_credentials([(key, cert)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def seen():
        return {"calls": echo.calls, "metadata": echo.last, "deadline": echo.deadline,
                "cancelled": echo.cancelled}

    async def fail(share, status):
        echo.failing = (share, status)

    async def serving(service, status):
        await checks.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(status))

    async def stop(grace):
        await server.stop(grace)

    lines.say({"port": port})
    await lines.answer({"seen": seen, "fail": fail, "serving": serving, "stop": stop})


asyncio.run(main())
