"""MiniLM on this machine's CPU against the reference, and an embeddings endpoint over a real socket."""

import http.server
import importlib.util
import json
import threading

import numpy as np
import pytest

from trimtab.engines import bert
from trimtab.errors import ConfigError, ModelError, UpstreamError
from trimtab.levers import encoder

TEXTS = (
    "How do I reset my PIN?",
    "i forgot my pin code",
    "What is the weather like in Oslo tomorrow?",
    "",
    "Wie ändere ich meine Adresse? 住所を変更 🙂",
    "word " * 1_000,
)
local = pytest.mark.skipif(
    importlib.util.find_spec(encoder.WHEEL) is None or importlib.util.find_spec("openvino") is None,
    reason=f"the encoder needs {encoder.INSTALL} and the extra `cache`",
)


@pytest.fixture(scope="module")
def minilm():
    return encoder.load()


@local
def test_vectors_have_unit_length_and_do_not_depend_on_company(minilm):
    together = minilm.embed(TEXTS)
    assert together.shape == (len(TEXTS), minilm.dims) == (len(TEXTS), 384)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.array_equal(minilm.embed([text])[0], vector)
    assert minilm.embed([]).shape == (0, 384)
    assert together[0] @ together[1] > 0.7 > 0.3 > together[0] @ together[2]


@local
def test_quantisation_moves_no_cosine_by_much(minilm):
    exact = encoder.load("minilm-f32")
    assert exact.version != minilm.version
    rough, fine = minilm.embed(TEXTS), exact.embed(TEXTS)
    assert (rough * fine).sum(axis=1).min() > 0.99
    assert np.abs(rough @ rough.T - fine @ fine.T).max() < 0.03


@local
def test_threads_share_one_encoder(minilm):
    wanted = minilm.embed(TEXTS)
    found = []
    threads = [threading.Thread(target=lambda: found.append(minilm.embed(TEXTS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(one, wanted) for one in found)


@local
@pytest.mark.golden
def test_the_graph_computes_what_transformers_computes(minilm):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = encoder._wheel()
    model = transformers.AutoModel.from_pretrained(folder).eval()
    words = transformers.AutoTokenizer.from_pretrained(folder)
    fine = encoder.load("minilm-f32").embed(TEXTS)
    for text, vector in zip(TEXTS, fine, strict=True):
        given = words(text, return_tensors="pt", truncation=True, max_length=encoder.MOST_TOKENS, padding=False)
        with torch.no_grad():
            mean = model(**given).last_hidden_state.mean(dim=1)[0]
        wanted = (mean / mean.norm()).numpy()
        assert wanted @ vector == pytest.approx(1, abs=1e-4)


@local
def test_what_is_no_encoder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="tokenizer"):
        encoder.load(str(tmp_path))
    with pytest.raises(ModelError, match="config"):
        bert.build(tmp_path, "int8")
    (tmp_path / "config.json").write_text('{"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}')
    with pytest.raises(ModelError, match="no BERT"):
        bert.build(tmp_path, "int8")


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Three numbers a text, in the wrong order; `broken` is what to answer instead."""

    broken = None
    seen = ()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((asked["model"], self.headers.get("Authorization")))
        data = [{"index": n, "embedding": [len(text), 1, 0]} for n, text in enumerate(asked["input"])]
        body = self.broken if self.broken is not None else json.dumps({"data": data[::-1]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setattr(Endpoint, "seen", [])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/embeddings"
    server.shutdown()
    server.server_close()


def test_an_endpoint_is_an_encoder_too(endpoint, monkeypatch):
    monkeypatch.setenv("TRIMTAB_EMBEDDINGS_KEY", "s3cret")
    remote = encoder.load(f"{endpoint}#small")
    assert remote.dims == 3
    assert remote.version != encoder.load(f"{endpoint}#large").version
    found = remote.embed(["abc", ""])
    assert found == pytest.approx(np.array([[3 / 10**0.5, 1 / 10**0.5, 0], [0, 1, 0]]), abs=1e-6)
    assert Endpoint.seen[-1] == ("small", "Bearer s3cret")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"data": []}', b'{"data": [{"index": 9, "embedding": [1]}]}', b'{"data": [{"index": 0}]}',
             b'{"data": [{"index": 0, "embedding": ["x", 1, 2]}]}', b'{"data": [{"index": 0, "embedding": [1, 2]}]}',
             b'{"data": [{"index": 0, "embedding": [0, 0, 0]}]}']
)  # fmt: skip
def test_an_endpoint_that_errs_is_an_error_of_ours(endpoint, monkeypatch, body):
    remote = encoder.load(f"{endpoint}#small")
    monkeypatch.setattr(Endpoint, "broken", body)
    with pytest.raises(UpstreamError):
        remote.embed(["a"])


def test_an_endpoint_needs_a_model_and_an_answer(endpoint):
    with pytest.raises(ConfigError, match="#model"):
        encoder.load(endpoint)
    with pytest.raises(UpstreamError):
        encoder.load("http://127.0.0.1:9/v1/embeddings#m")
