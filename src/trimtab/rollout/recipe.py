"""How a model is served by vLLM: the command, a compose file and a Kubernetes manifest that say the same."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import ConfigError, FormatError

IMAGE = "vllm/vllm-openai:v0.32.0"
CPU_IMAGE = "vllm/vllm-openai-cpu:v0.32.0"
PORT = 8000
# No outside address is asked for anything; the model lies on the disk.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
CPU_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "4"}
_PARSE = """
import sys
try:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
except ImportError:
    from vllm.entrypoints.openai.cli_args import make_arg_parser, validate_parsed_serve_args
try:
    from vllm.utils.argparse_utils import FlexibleArgumentParser
except ImportError:
    from vllm.utils import FlexibleArgumentParser
validate_parsed_serve_args(make_arg_parser(FlexibleArgumentParser(prog="vllm serve")).parse_args(sys.argv[1:]))
import vllm
print(vllm.__version__)
"""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is served, and how. `speculative` is vLLM's own speculative config; `loras` are (name, folder); `gpus` 0: on
    CPUs. `place` is where the model's folder is in a container."""

    model: Path
    name: str
    speculative: Mapping[str, Any] | None = None
    loras: tuple[tuple[str, str], ...] = ()
    prefix_caching: bool = True
    context: int = 0
    most: int = 0
    gpus: int = 1
    port: int = PORT
    image: str = ""
    place: str = "/models/model"


class Recipe(msgspec.Struct, frozen=True):
    """The three forms as text; `words` is the command's own."""

    words: tuple[str, ...]
    command: str
    compose: str
    kubernetes: str


def of(wanted: Wanted) -> Recipe:
    """FormatError where the model's folder is none that vLLM can load."""
    config = _config(wanted.model)
    words = ("vllm", "serve", *arguments(wanted, config, str(wanted.model)))
    environment = ENVIRONMENT | ({} if wanted.gpus else CPU_ENVIRONMENT)
    shown = " ".join(f"{name}={value}" for name, value in environment.items())
    inside = list(arguments(wanted, config, wanted.place))
    return Recipe(
        words=words,
        command=f"{shown} {shlex.join(words)}\n",
        compose=yaml(_compose(wanted, inside, environment)),
        kubernetes="---\n".join(yaml(each) for each in _kubernetes(wanted, inside, environment)),
    )


def arguments(wanted: Wanted, config: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """What `vllm serve` is told, the model's `place` first."""
    words = [place, "--served-model-name", wanted.name, "--port", str(wanted.port)]
    quantized = config.get("quantization_config")
    if isinstance(quantized, Mapping) and quantized.get("quant_method"):
        words += ["--quantization", str(quantized["quant_method"])]
    words += ["--enable-prefix-caching" if wanted.prefix_caching else "--no-enable-prefix-caching"]
    if wanted.context:
        words += ["--max-model-len", str(wanted.context)]
    if wanted.most:
        words += ["--max-num-seqs", str(wanted.most)]
    if wanted.speculative is not None:
        words += ["--speculative-config", json.dumps(dict(wanted.speculative))]
    if wanted.loras:
        words += ["--enable-lora", "--lora-modules", *(f"{name}={folder}" for name, folder in wanted.loras)]
    template = _template(wanted.model)
    if template and "vision_config" not in config:
        # vLLM guesses by the template's loops, and would hand lists of parts to one that takes texts in some places.
        words += ["--chat-template-content-format", "string"]
    if "<tool_call>" in template:
        words += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    if wanted.gpus > 1:
        words += ["--tensor-parallel-size", str(wanted.gpus)]
    if not wanted.gpus:
        # Without a C++ compiler beside it, the default mode does not start on CPUs.
        words += ["--enforce-eager", "--dtype", "bfloat16"]
    return tuple(words)


def checked(recipe: Recipe, python: Path) -> str:
    """vLLM's version, after its own parser has taken the words; ConfigError with what it said where it does not."""
    if not python.exists():
        raise ConfigError(f"there is no Python at {python}: name the one that has vLLM with --check")
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": ""}
    done = subprocess.run(
        [str(python), "-c", _PARSE, *recipe.words[2:]], capture_output=True, text=True, check=False, env=environment
    )
    lines = [line for line in (done.stdout if done.returncode == 0 else done.stderr).splitlines() if line.strip()]
    if done.returncode:
        raise ConfigError(f"vLLM does not take this: {lines[-1].strip()[:300] if lines else 'it said nothing'}")
    return lines[-1] if lines else ""


def _config(folder: Path) -> dict[str, Any]:
    if (folder / "openvino_model.xml").exists():
        raise FormatError(f"{folder} is for the embedded engine: type  trimtab engine serve {folder}")
    try:
        held = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{folder} is no checkpoint that vLLM loads: name the folder with its config.json") from error
    if not isinstance(held, dict):
        raise FormatError(f"{folder / 'config.json'} holds no JSON object: copy the folder again")
    return held


def _template(folder: Path) -> str:
    """The model's chat template, which tells how it writes its calls: Hermes and Qwen between <tool_call> marks."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8", errors="replace")
    try:
        held = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return held if isinstance(held, str) else json.dumps(held or "")


def _compose(wanted: Wanted, words: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    service: dict[str, Any] = {
        "image": wanted.image or (IMAGE if wanted.gpus else CPU_IMAGE),
        "command": words,
        "environment": dict(environment),
        "ports": [f"{wanted.port}:{wanted.port}"],
        "volumes": [f"{wanted.model.absolute()}:{wanted.place}:ro"],
        "ipc": "host",
        "restart": "unless-stopped",
    }
    service["volumes"] += [f"{Path(folder).absolute()}:{folder}:ro" for _, folder in wanted.loras]
    if wanted.gpus:
        devices = [{"driver": "nvidia", "count": wanted.gpus, "capabilities": ["gpu"]}]
        service["deploy"] = {"resources": {"reservations": {"devices": devices}}}
    return {"services": {_label(wanted.name): service}}


def _kubernetes(wanted: Wanted, words: list[str], environment: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
    """A Deployment and a Service; the model's folder is expected in a volume claim named like the model."""
    label = _label(wanted.name)
    probe = {"httpGet": {"path": "/health", "port": wanted.port}, "periodSeconds": 10}
    container: dict[str, Any] = {
        "name": "vllm",
        "image": wanted.image or (IMAGE if wanted.gpus else CPU_IMAGE),
        "args": words,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [{"containerPort": wanted.port}],
        "startupProbe": {**probe, "failureThreshold": 60},
        "readinessProbe": probe,
        "volumeMounts": [
            {"name": "model", "mountPath": wanted.place, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }
    if wanted.gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": wanted.gpus}}
    volumes = [
        {"name": "model", "persistentVolumeClaim": {"claimName": label, "readOnly": True}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    labels = {"app": label}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": label, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": volumes}},
        },
    }
    ports = [{"port": wanted.port, "targetPort": wanted.port}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": label},
        "spec": {"selector": labels, "ports": ports},
    }
    return deployment, service


def _label(name: str) -> str:
    """As Kubernetes wants names: small letters, digits and hyphens, at most 63."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return plain.strip("-")[:63].strip("-") or "model"


def yaml(value: Any, indent: int = 0) -> str:
    """Mappings and lists as blocks, everything else as JSON, which YAML 1.2 holds."""
    space = "  " * indent
    if isinstance(value, Mapping) and value:
        return "".join(f"{space}{key}:{_below(held, indent)}" for key, held in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{space}-{_item(held, indent)}" for held in value)
    return f"{space}{json.dumps(value)}\n"


def _below(value: Any, indent: int) -> str:
    if isinstance(value, Mapping | list) and value:
        return "\n" + yaml(value, indent + 1)
    return f" {json.dumps(value)}\n"


def _item(value: Any, indent: int) -> str:
    if isinstance(value, Mapping) and value:
        # The first key stands beside the hyphen.
        return " " + yaml(value, indent + 1).lstrip(" ")
    return _below(value, indent)
