"""The gateways that are measured beside Trimtab: how each is installed (once, into a folder of its own) and started.

`python benchmarks/peers.py [--peers DIR]` only installs them. Each listens on 127.0.0.1 alone.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from systems import Absent, Recipe, System, script

FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab" / "peers"
LITELLM = ("litellm[proxy]==1.106.2", "prometheus_client")
TENSORZERO = ("tensorzero==2026.6.0", "openai")
# Without the override each stream is a 500: its own range takes a newer server that it does not work with.
PORTKEY = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    "overrides": {"@hono/node-server": "1.13.5"},
}
MASTER_KEY = "sk-benchmark-0f3b6c2a9d7e4851"

# It binds every interface and has no setting for it.
LOOPBACK = """
const net = require("net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (where, ...rest) {
  if (typeof where === "number") where = { port: where, host: "127.0.0.1" };
  else if (where && typeof where === "object" && where.port !== undefined) where = { ...where, host: "127.0.0.1" };
  return listen.call(this, where, ...rest.filter((one) => typeof one === "function"));
};
"""

# Its wheel carries the gateway: the patched client's address is a real HTTP server on a free loopback port.
EMBED = """
import sys
from openai import OpenAI
from tensorzero import patch_openai_client
client = patch_openai_client(OpenAI(api_key="x"), config_file="tensorzero.toml", async_setup=False)
print(str(client.base_url).rstrip("/"), flush=True)
sys.stdin.read()
"""


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def litellm(folder: Path, upstream: str, work: Path) -> Recipe:
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_base": upstream, "api_key": "x"}}
        for name in ("bench", "paced")
    ]
    # JSON is YAML too.
    config = {"model_list": models, "general_settings": {"master_key": MASTER_KEY}}
    (work / "litellm.yaml").write_text(json.dumps(config))
    port = free_port()
    words = ["--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    return Recipe(
        [str(folder / "bin" / "litellm"), *words],
        url=f"http://127.0.0.1:{port}/v1",
        headers={"Authorization": f"Bearer {MASTER_KEY}"},
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""},
        patience_s=240,
    )


def portkey(folder: Path, upstream: str, work: Path) -> Recipe:
    (work / "loopback.cjs").write_text(LOOPBACK)
    port = free_port()
    server = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return Recipe(
        ["node", "--require", str(work / "loopback.cjs"), str(server), "--headless", f"--port={port}"],
        url=f"http://127.0.0.1:{port}/v1",
        headers={"Authorization": "Bearer x", "x-portkey-provider": "openai", "x-portkey-custom-host": upstream},
    )


def tensorzero(folder: Path, upstream: str, work: Path) -> Recipe:
    models = "".join(
        f'[models.{name}]\nrouting = ["fake"]\n[models.{name}.providers.fake]\ntype = "openai"\n'
        f'model_name = "{name}"\napi_base = "{upstream}"\napi_key_location = "none"\n'
        for name in ("bench", "paced")
    )
    (work / "tensorzero.toml").write_text(f"[gateway]\nobservability.enabled = false\n{models}")
    (work / "embed.py").write_text(EMBED)
    return Recipe(
        [str(folder / "bin" / "python"), str(work / "embed.py")],
        model="tensorzero::model_name::",
        headers={"Authorization": "Bearer x"},
        environment={"PYTHONPATH": ""},
    )


def floor(upstream: str, _work: Path) -> Recipe:
    return Recipe(script("floor.py", "--upstream", upstream))


def install_python(folder: Path, packages: tuple[str, ...]) -> None:
    """A virtual environment with `packages`, made of this interpreter."""
    run([sys.executable, "-m", "venv", str(folder)], folder)
    run([str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *packages], folder)


def install_node(folder: Path) -> None:
    if shutil.which("npm") is None:
        raise Absent("npm is not on the PATH: install Node.js")
    (folder / "package.json").write_text(json.dumps(PORTKEY, indent=1))
    run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], folder)


def run(command: list[str], folder: Path) -> None:
    """Absent with the last line it said where a step of an installation fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Absent(f"cannot be installed: {' '.join(command[:3])}: {said[-1] if said else done.returncode}")


# Name -> version, how it is installed, how it is started.
PEERS: dict[str, tuple[str, Callable[[Path], None], Callable[[Path, str, Path], Recipe]]] = {
    "litellm": ("1.106.2", functools.partial(install_python, packages=LITELLM), litellm),
    "portkey": ("1.15.2", install_node, portkey),
    "tensorzero": ("2026.6.0", functools.partial(install_python, packages=TENSORZERO), tensorzero),
}


def system(name: str, folder: Path) -> System:
    """That peer, installed below `folder` if it is not yet; Absent where it cannot be."""
    version, install, recipe = PEERS[name]
    place = folder / name
    # What was left by an installation that broke off is no peer.
    mark = place / f"installed-{version}"
    if not mark.exists():
        print(f"installing {name} {version} into {place} (once)", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            install(place)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Absent(f"cannot be installed: {error}") from error
        mark.touch()
    return System(name, functools.partial(recipe, place), version)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=Path, default=FOLDER, metavar="DIR", help=f"where they are kept ({FOLDER})")
    args = parser.parse_args()
    failed = 0
    for name in PEERS:
        try:
            print(name, system(name, args.peers).version)
        except Absent as error:
            failed = 1
            print(f"{name} is absent: {error}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
