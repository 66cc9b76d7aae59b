"""Loads pages with a real browser and says what it got and by which protocol.

usage: browser.py HOST PORT PUBLIC_KEY

HOST is looked up as 127.0.0.1:PORT, whatever its port in URLs. The certificate with the public key
in this file is accepted, so no store of authorities has to be changed."""

import asyncio
import base64
import ctypes
import hashlib
import itertools
import json
import re
import shutil
import sys
import tempfile

from websockets.asyncio.client import connect

import lines

NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]


class Page:
    """The browser's debugging protocol, over one page."""

    def __init__(self, connection):
        self.connection = connection
        self.numbers = itertools.count(1)
        self.waiting = {}
        self.events = asyncio.Queue()

    async def read(self):
        async for text in self.connection:
            message = json.loads(text)
            if "id" in message:
                self.waiting.pop(message["id"]).set_result(message)
            else:
                await self.events.put(message)

    async def ask(self, method, session=None, **params):
        number = next(self.numbers)
        self.waiting[number] = asyncio.get_running_loop().create_future()
        question = {"id": number, "method": method, "params": params}
        if session:
            question["sessionId"] = session
        await self.connection.send(json.dumps(question))
        message = await self.waiting[number]
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]


async def main():
    host, port, public_key = sys.argv[1:]
    pem = [line for line in open(public_key) if not line.startswith("-----")]
    digest = hashlib.sha256(base64.b64decode("".join(pem))).digest()
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if not program:
        raise SystemExit("no browser; `scripts/deps.sh test` installs one")
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--no-first-run", "--disable-background-networking", "--no-proxy-server",
                 f"--user-data-dir={profile}", "--remote-debugging-port=0",
                 f"--ignore-certificate-errors-spki-list={base64.b64encode(digest).decode()}",
                 f"--host-resolver-rules=MAP {host} 127.0.0.1:{port}"]
        browser = await asyncio.create_subprocess_exec(
            program, *flags, "about:blank", stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            preexec_fn=end_with_parent)
        try:
            await drive(await debugger(browser))
        finally:
            browser.terminate()
            await browser.wait()


def end_with_parent():
    """The browser ends with this program, whatever ends that (Linux: PR_SET_PDEATHSIG, SIGTERM)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 15)


async def debugger(browser):
    """Where the browser says it can be driven."""
    while line := (await browser.stderr.readline()).decode(errors="replace"):
        if found := re.search(r"DevTools listening on (ws://\S+)", line):
            return found[1]
    raise SystemExit("the browser ended at once")


async def drive(url):
    async with connect(url, max_size=1 << 26, proxy=None) as connection:
        page = Page(connection)
        reading = asyncio.create_task(page.read())
        target = (await page.ask("Target.createTarget", url="about:blank"))["targetId"]
        attached = await page.ask("Target.attachToTarget", targetId=target, flatten=True)
        session = attached["sessionId"]
        for domain in ("Network", "Page", "Runtime"):
            await page.ask(f"{domain}.enable", session)

        async def load(url):
            """Goes to a page; gives its document and the responses that it took."""
            while not page.events.empty():
                page.events.get_nowait()
            went = await page.ask("Page.navigate", session, url=url)
            if "errorText" in went:
                return {"failed": went["errorText"]}
            responses = []
            while (event := await page.events.get())["method"] != "Page.loadEventFired":
                if event["method"] == "Network.responseReceived":
                    got = event["params"]["response"]
                    responses.append({
                        "url": got["url"], "status": got["status"],
                        "protocol": got.get("protocol"), "headers": got["headers"],
                        "security": got.get("securityDetails", {}).get("protocol")})
            text = await evaluate("document.documentElement.innerText")
            return {"responses": responses, "text": text["value"]}

        async def evaluate(script):
            """The value of a script, or of the promise that it gives."""
            done = await page.ask("Runtime.evaluate", session, expression=script,
                                  awaitPromise=True, returnByValue=True)
            return {"value": done["result"].get("value")}

        lines.say({})
        await lines.answer({"load": load, "evaluate": evaluate})
        reading.cancel()


asyncio.run(main())
