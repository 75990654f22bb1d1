"""Real client libraries before a gateway and a fake upstream that speaks every dialect. All of them stay offline."""

import os
import re

import pytest

for name, value in (
    ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
    ("LANGSMITH_TRACING", "false"),
    ("LANGCHAIN_TRACING_V2", "false"),
    ("DO_NOT_TRACK", "1"),
    ("NO_PROXY", "127.0.0.1"),
):
    os.environ[name] = value

from tests.gateway.conftest import running  # noqa: E402
from tests.gateway.dialects.answers import every  # noqa: E402
from tests.gateway.dialects.conftest import CONFIG  # noqa: E402
from trimtab.gateway.keyring import Ring  # noqa: E402
from trimtab.gateway.keys import Key  # noqa: E402

KEYS = CONFIG.replace("[store]", '[gateway]\nkeys = "optional"\n[store]')


@pytest.fixture(scope="package")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    with running(folder, KEYS) as pair:
        yield pair


@pytest.fixture
def gateway(pair):
    pair.upstream.script = every
    pair.upstream.seen.clear()
    return pair


@pytest.fixture
def new_key(gateway, request):
    """Makes a virtual key named after the test and gives its secret."""

    def make(**fields):
        name = re.sub(r"[^\w.@-]", ".", request.node.name)[:64]
        return Ring(gateway.store).create(Key(name=name, **fields))

    return make
