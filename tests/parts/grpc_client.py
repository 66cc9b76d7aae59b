"""A gRPC client that calls what it is told to and says what came of it.

usage: grpc_client.py HOST:PORT [CA SERVER_NAME [CERT KEY]]
"""

import asyncio
import collections
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import lines

ECHO = "/tidegate.test.Echo/"


def channel(address, ca=None, name=None, cert=None, key=None):
    # Nothing may try again behind the test's back.
    options = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0),
               ("grpc.use_local_subchannel_pool", 1),
               ("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
    if not ca:
        return grpc.aio.insecure_channel(address, options)
    read = lambda path: open(path, "rb").read() if path else None
    credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(cert))
    options.append(("grpc.ssl_target_name_override", name))
    return grpc.aio.secure_channel(address, credentials, options)


def given(metadata):
    """Values of keys that end with `-bin` are bytes."""
    return [(key, value.encode() if key.endswith("-bin") else value) for key, value in metadata]


def pairs(metadata):
    return [[key, value if isinstance(value, str) else value.hex()]
            for key, value in metadata or ()]


class Client:
    def __init__(self, target):
        self.channel = channel(*target)
        self.streams = {}
        self.loads = {}

    async def status(self, call, replies):
        return {"code": (await call.code()).value[0], "details": await call.details(),
                "replies": [reply.decode(errors="replace") for reply in replies],
                "initial": pairs(await call.initial_metadata()),
                "trailing": pairs(await call.trailing_metadata())}

    async def call(self, method, messages=("hello",), metadata=(), timeout=8):
        metadata = given(metadata)
        messages = [message.encode() for message in messages]
        path, replies = ECHO + method, []
        single = method in ("Unary", "ServerStream")
        request = messages[0] if single else iter(messages)
        kind = {"Unary": self.channel.unary_unary, "ServerStream": self.channel.unary_stream,
                "ClientStream": self.channel.stream_unary, "Bidi": self.channel.stream_stream}
        # A method that this client has no kind for is called as a unary one.
        call = kind.get(method, self.channel.unary_unary)(path)(
            request if method in kind else messages[0], metadata=metadata, timeout=timeout)
        try:
            if method in ("ServerStream", "Bidi"):
                async for reply in call:
                    replies.append(reply)
            else:
                replies.append(await call)
        except grpc.aio.AioRpcError:
            pass
        return await self.status(call, replies)

    async def open(self, stream, metadata=(), timeout=60):
        call = self.channel.stream_stream(ECHO + "Bidi")(
            metadata=given(metadata), timeout=timeout)
        self.streams[stream] = call
        return {"initial": pairs(await call.initial_metadata())}

    async def send(self, stream, message):
        call = self.streams[stream]
        await call.write(message.encode())
        reply = await call.read()
        return {"reply": None if reply is grpc.aio.EOF else reply.decode()}

    async def end(self, stream):
        call = self.streams[stream]
        await call.done_writing()
        return await self.wait(stream)

    async def wait(self, stream):
        """Waits for the stream's end, whoever ends it."""
        call, replies = self.streams[stream], []
        try:
            while (reply := await call.read()) is not grpc.aio.EOF:
                replies.append(reply)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        return await self.status(call, replies)

    async def cancel(self, stream):
        self.streams[stream].cancel()

    async def load(self, load, parallel=4, count=None, metadata=()):
        """Unary calls, `count` or until the load is stopped; counts them by status and server."""
        report = {"codes": collections.Counter(), "servers": collections.Counter()}
        left = [count if count is not None else 1 << 60]
        self.loads[load] = left
        unary = self.channel.unary_unary(ECHO + "Unary")

        async def one():
            while left[0] > 0:
                left[0] -= 1
                call = unary(b"load", metadata=given(metadata), timeout=8)
                try:
                    reply = await call
                    report["servers"][reply.decode().split(" ")[0]] += 1
                except grpc.aio.AioRpcError:
                    pass
                report["codes"][(await call.code()).value[0]] += 1

        await asyncio.gather(*(one() for _ in range(parallel)))
        return report

    async def stop(self, load):
        self.loads[load][0] = 0

    async def health(self, service=""):
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=8)
        return {"status": health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}


async def main():
    client = Client(sys.argv[1:])
    names = ["call", "open", "send", "end", "wait", "cancel", "load", "stop", "health"]
    lines.say({})
    await lines.answer({name: getattr(client, name) for name in names})


asyncio.run(main())
