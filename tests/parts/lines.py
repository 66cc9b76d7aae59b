"""How the tests talk to the programs beside this file: a JSON object a line, in and out.

A question has an `id` and says what to `do`; its answer has the same `id`. Questions are answered
as they are ready, not in order. The end of standard input ends the program."""

import asyncio
import json
import sys


def say(value):
    print(json.dumps(value), flush=True)


async def answer(handlers):
    """Answers questions with `handlers`, by what is to be done, until there are no more."""
    reader = asyncio.StreamReader(limit=1 << 26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()
    while line := await reader.readline():
        task = asyncio.create_task(answer_one(handlers, json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def answer_one(handlers, question):
    number = question.pop("id")
    try:
        value = await handlers[question.pop("do")](**question)
    except Exception as error:  # The test is told; it decides whether that is a failure.
        value = {"error": f"{type(error).__name__}: {error}"}
    say({"id": number, **(value or {})})
