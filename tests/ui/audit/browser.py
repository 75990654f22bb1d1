"""A real headless browser, driven over its own debugging protocol; skips where there is none."""

import asyncio
import contextlib
import itertools
import re
import shutil

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
START_S, ANSWER_S = 60, 60


def found():
    """The browser's path; skips the test where none is installed."""
    path = next((held for name in NAMES if (held := shutil.which(name))), None)
    if path is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    return path


class Tab:
    """One page; `said` are its console messages, warnings, failed loads and exceptions."""

    def __init__(self, socket):
        self._socket, self._ids, self._answers = socket, itertools.count(1), {}
        self.said, self.asked = [], []
        self._loaded = asyncio.Event()
        self._session = None

    async def call(self, method, **params):
        number = next(self._ids)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        return await asyncio.wait_for(answer, ANSWER_S)

    async def listen(self):
        async for message in self._socket:
            held = message.json()
            if "id" in held:
                answer = self._answers.pop(held["id"])
                if not answer.done():
                    answer.set_result(held.get("result", held))
            else:
                self._heard(held["method"], held["params"])

    def _heard(self, method, params):
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(params)
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded.set()

    async def attach(self):
        target = await self.call("Target.createTarget", url="about:blank")
        self._session = (await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True))[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")

    async def open(self, url, width, scheme="light"):
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), ANSWER_S)

    async def value(self, script):
        """What the JavaScript expression comes to."""
        held = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in held, held
        return held["result"].get("value")

    async def press(self, key, code):
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)


@contextlib.asynccontextmanager
async def tab(folder):
    """A page of a browser of its own, which ends with the block; `folder` holds its profile."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={folder}")
    process = await asyncio.create_subprocess_exec(
        found(), *options, "about:blank", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        address = await asyncio.wait_for(_address(process.stderr), START_S)
        async with aiohttp.ClientSession() as http, http.ws_connect(address, max_msg_size=0) as socket:
            page = Tab(socket)
            listening = asyncio.create_task(page.listen())
            await page.attach()
            yield page
            listening.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _address(lines):
    while line := await lines.readline():
        if held := re.search(rb"ws://\S+", line):
            return held[0].decode()
    raise AssertionError("the browser did not start")
