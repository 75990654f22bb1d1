"""The error tree. Every message is one line that says what happened and what to do next.

TrimtabError
├── ConfigError          the TOML file or an option is wrong
├── MissingExtra         an optional part is not installed; names the one command to type
├── PortInUse            a server cannot listen where it was told to
├── FormatError          a file or a record from outside cannot be read
├── StoreError           the trace or artefact store refused
│   ├── DiskFull         no room is left; nothing that was acknowledged is lost
│   └── StoreBusy        another process holds the store, or a lock on a day file
├── UpstreamError        a model server did not answer as it should
├── ModelError           a model folder is missing, broken or of an unknown shape
├── RequestRefused       a request cannot be served; carries the HTTP status and the field at fault
├── ArenaError           the dealership cannot run what it was asked to
└── NotProven            a rollout may not go further: no verdict in the ledger allows it
"""

import importlib.util


class TrimtabError(Exception):
    """Root of the tree: the command line prints the message on one line and exits with `exit_code`."""

    exit_code = 1


class ConfigError(TrimtabError):
    """The TOML file or an option is wrong."""

    exit_code = 2


class MissingExtra(TrimtabError):
    """An optional part is not installed."""

    exit_code = 3

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(f"'{package}' is not installed: type  pip install 'trimtab[{extra}]'")
        self.extra = extra


def require(extra: str, *modules: str) -> None:
    """MissingExtra for the first of `modules` that cannot be imported; imports none of them."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(extra, module)


class PortInUse(TrimtabError):
    """A server cannot listen where it was told to."""

    exit_code = 4

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is in use: stop what listens there, or choose another with --port (0: any free)"
        )


class FormatError(TrimtabError):
    """A file or a record from outside cannot be read."""

    exit_code = 5


class StoreError(TrimtabError):
    """The trace or artefact store refused."""

    exit_code = 6


class DiskFull(StoreError):
    """No room is left on the store's disk."""


class StoreBusy(StoreError):
    """Another process holds the store, or a lock on a day file; later it may go."""


class UpstreamError(TrimtabError):
    """A model server did not answer as it should."""

    exit_code = 7


class ModelError(TrimtabError):
    """A model folder is missing, broken or of an unknown shape."""

    exit_code = 8


class RequestRefused(TrimtabError):
    """A request that cannot be served.

    `status` is the HTTP status, `kind` the OpenAI error type, `param` the field at fault, `code` a stable word.
    """

    exit_code = 9

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.kind = "invalid_request_error" if status < 500 else "server_error"


class ArenaError(TrimtabError):
    """The dealership cannot run what it was asked to."""

    exit_code = 10


class NotProven(TrimtabError):
    """A rollout may not go further: no verdict in the ledger allows it."""

    exit_code = 11
