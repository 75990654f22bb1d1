"""A gateway before a fake upstream that speaks every dialect, one pair a test file."""

import anthropic
import openai
import pytest

from tests.gateway.conftest import running
from tests.gateway.dialects.answers import every

CONFIG = """
endpoints = [
  {{ name = "chat", url = "{url}", model = "fake-model" }},
  {{ name = "claude", url = "{url}", model = "claude-fake", dialect = "messages" }},
  {{ name = "keyed", url = "{url}", model = "claude-keyed", dialect = "messages", key_env = "TRIMTAB_TEST_KEY" }},
  {{ name = "gpt", url = "{url}", model = "gpt-fake", dialect = "responses" }},
  {{ name = "two", url = "{url}", model = "two-faced" }},
  {{ name = "two-responses", url = "{url}", model = "two-faced", dialect = "responses" }},
  {{ name = "embed", url = "{url}", model = "embed-fake" }},
  {{ name = "text", url = "{url}", model = "text-fake" }},
  {{ name = "dead", url = "http://127.0.0.1:9/v1", model = "dead", dialect = "messages" }},
]
[routes]
sonnet = "claude"
[fallbacks]
dead = ["claude"]
[retry]
attempts = 1
[store]
folder = "{store}"
[prices]
version = "test-1"
[prices.models]
"*" = {{ input = 2.0, cache_read = 0.5, cache_write = 4.0, output = 8.0 }}
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dialects")
    with running(folder, CONFIG) as pair:
        yield pair


@pytest.fixture
def gateway(pair):
    pair.upstream.script = every
    pair.upstream.seen.clear()
    return pair


@pytest.fixture
def claude(gateway):
    """Anthropic's client."""
    url = gateway.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="sk-x", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def gpt(gateway):
    """OpenAI's client."""
    with openai.OpenAI(base_url=gateway.url, api_key="sk-x", max_retries=0, timeout=20) as client:
        yield client
