"""Finding levers: built-in ones by their folder here, others by an entry point. Knows none of them by name.

A lever's folder has `lab.py` with `make(options) -> Lever`; where it is a step, `serve.py` with `make(spec, folder)`;
where it has commands of its own, `commands.py` with `add(parser)` and a line `SUMMARY`. A lab that can be narrowed to
one agent has `narrowed(options, agent) -> options`. One that makes a model to be served takes an option `url`, where it
will be, and has `serving(applied, artifact)`, what `trimtab engine serve` is told.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from trimtab.deployment import Deployment
from trimtab.errors import ConfigError
from trimtab.lever import Artifact, Lever

_GROUP = "trimtab.labs"
_HERE = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Every lever that is there, built in or installed."""
    own = {path.parent.name for path in _HERE.glob("*/lab.py")}
    return tuple(sorted(own | {entry.name for entry in importlib.metadata.entry_points(group=_GROUP)}))


def lever(name: str, options: Mapping[str, Any], agent: str | None = None) -> Lever:
    """The lever `name` with its `options`, for one `agent` where it can be; ConfigError where there is none or an
    option is wrong."""
    module = lab(name)
    if agent and hasattr(module, "narrowed"):
        options = module.narrowed(options, agent)
    found: Lever = module.make(options)
    return found


def serves(name: str) -> bool:
    """Whether the lever's artefact is a model that has to be served. ConfigError where there is no such lever."""
    return hasattr(lab(name), "serving")


def serving(name: str, applied: Deployment, artifact: Artifact) -> tuple[str, ...]:
    """What `trimtab engine serve` is told so that the Deployment with the `artifact` in it finds its model; nothing
    where that is not this engine's to serve."""
    module = lab(name)
    return tuple(module.serving(applied, artifact)) if hasattr(module, "serving") else ()


def lab(name: str) -> ModuleType:
    """The heavy half of the lever `name`; ConfigError where there is none."""
    if (_HERE / name / "lab.py").is_file() and name.isidentifier():
        return importlib.import_module(f"trimtab.levers.{name}.lab")
    return _installed(name)


def with_commands() -> dict[str, str]:
    """The built-in levers that have commands of their own, with what these do."""
    found = {}
    for path in sorted(_HERE.glob("*/commands.py")):
        found[path.parent.name] = str(commands(path.parent.name).SUMMARY)
    return found


def commands(name: str) -> ModuleType:
    return importlib.import_module(f"trimtab.levers.{name}.commands")


def _installed(name: str) -> ModuleType:
    for entry in importlib.metadata.entry_points(group=_GROUP, name=name):
        return importlib.import_module(entry.value)
    known = ", ".join(names())
    raise ConfigError(f"there is no lever '{name}': use one of {known}")
