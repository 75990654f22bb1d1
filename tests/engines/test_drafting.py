"""Drafting in the engine: the same tokens as without, by whatever drafter, and what a drafter must be."""

import asyncio
import json
import shutil

import pytest

from tests.engines import tiny
from tests.engines.serving import save_chat_model
from trimtab.bench import traffic
from trimtab.engines.drafter import CARD, drafter
from trimtab.engines.loaded import STEP_TOKENS
from trimtab.engines.metrics import exposition
from trimtab.engines.pipeline import Pipeline
from trimtab.engines.prepared import locate, prepare
from trimtab.engines.protocol import Add, Form, Grammar, Profile, Sampling, pack
from trimtab.engines.serve import Settings, profiles
from trimtab.engines.served import Served
from trimtab.errors import ConfigError, ModelError, TrimtabError
from trimtab.levers.speculation.conversations import Reader

pytestmark = pytest.mark.engine
GREEDY = Sampling(greedy=True)
PROMPTS = [[40, 41, 42, 40, 41], list(range(30, 90)), [77] * 20, list(range(200, 300)) * 2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A target; a drafter of its own kind with one layer, whose first choice is often the target's; the cache."""
    home = tmp_path_factory.mktemp("models")
    target = save_chat_model(home / "target")
    small = save_chat_model(home / "small")
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    return target, small, tmp_path_factory.mktemp("cache")


def load(folders, draft="", lengths="", **more):
    target, _, cache = folders
    settings = {"threads": 1, "max_seqs": 4, "kv_mib": 64, "draft": draft, "draft_lengths": lengths} | more
    return Pipeline(Profile(str(target), "f32", str(cache), **settings))


def answers(pipeline, length=40, sampling=GREEDY, **more):
    """Tokens by prompt, all asked at once, and what was drafted and taken."""
    for number, prompt in enumerate(PROMPTS, 1):
        assert pipeline.add(Add(number, pack(prompt), length, sampling, **more)) is None
    tokens, drafted, taken = {number: [] for number in range(1, len(PROMPTS) + 1)}, 0, 0
    while pipeline.busy:
        for piece in pipeline.step().pieces:
            tokens[piece.id] += piece.tokens
            if piece.finish:
                assert piece.finish in ("stop", "length"), piece
                drafted, taken = drafted + piece.drafted, taken + piece.taken
    return list(tokens.values()), drafted, taken


@pytest.fixture(scope="module")
def plain(folders):
    return answers(load(folders))[0]


@pytest.mark.parametrize("lengths", ["1:1", "1:3", "1:8"])
@pytest.mark.parametrize("kind", ["model", "itself", "lookup"])
def test_every_token_is_the_one_said_without_a_drafter(folders, plain, kind, lengths):
    target, small, _ = folders
    told = {"model": str(small), "itself": str(target), "lookup": "lookup"}[kind]
    said, drafted, taken = answers(load(folders, told, lengths))
    assert said == plain
    assert drafted >= taken
    assert drafted > 0
    if kind == "itself":
        assert taken > 0.8 * drafted


def test_prompts_longer_than_a_step_are_said_once(folders, monkeypatch):
    """With a prompt cut into pieces the engine's drafting says the first tokens twice."""
    monkeypatch.setattr("trimtab.engines.pipeline.STALLING", 10**9)
    _, _, cache = folders
    reader = Reader(locate("dealer-student"))
    prompts = [reader.said(each)[0] for each in traffic.spoken(traffic.record("test", 2, 100))]

    def said(draft):
        settings = {
            "threads": 1,
            "max_seqs": 16,
            "kv_mib": 256,
            "draft": draft,
            "draft_lengths": "1:3" if draft else "",
        }
        pipeline = Pipeline(Profile("dealer-student", "f32", str(cache), **settings))
        tokens, drafted = {}, 0
        for number, prompt in enumerate(prompts):
            pipeline.add(Add(number, pack(prompt), 24, GREEDY))
            tokens[number] = []
        while pipeline.busy:
            for piece in pipeline.step().pieces:
                tokens[piece.id] += piece.tokens
                drafted += piece.drafted
        return tokens, drafted

    assert sum(map(len, prompts)) > 4 * STEP_TOKENS
    (with_it, drafted), (without, _) = said("dealer-student"), said("")
    assert with_it == without
    assert drafted > 0


def test_what_could_change_is_not_drafted(folders):
    target, _, _ = folders
    pipeline = load(folders, str(target), "1:4")
    for more in (
        {"sampling": Sampling(seed=3)},
        {"sampling": Sampling(greedy=True, repetition=1.2)},
        {"logprobs": True},
        {"grammar": Grammar(Form(schema='{"type": "integer"}'))},
    ):
        assert answers(pipeline, 6, **more)[1] == 0
    assert answers(pipeline, 6)[1] > 0


def test_a_bad_grammar_leaves_drafted_answers_alone(folders, plain):
    target, _, _ = folders
    pipeline = load(folders, str(target), "1:3", max_seqs=8)
    pipeline.add(Add(99, pack([70, 71]), 30, GREEDY, grammar=Grammar(Form(ebnf="root ::= nowhere"))))
    told = {}
    for number, prompt in enumerate(PROMPTS, 1):
        pipeline.add(Add(number, pack(prompt), 40, GREEDY))
    tokens = {number: [] for number in (1, 2, 3, 4, 99)}
    while pipeline.busy:
        for piece in pipeline.step().pieces:
            tokens[piece.id] += piece.tokens
            told[piece.id] = piece.finish
    assert told.pop(99) == "refused"
    assert set(told.values()) <= {"stop", "length"}
    assert [tokens[number] for number in (1, 2, 3, 4)] == plain


def test_many_at_once_are_not_drafted_and_the_load_says_so(folders, plain):
    _, small, _ = folders
    pipeline = load(folders, str(small), "1:4,3:0")
    said, drafted, _ = answers(pipeline)
    assert said == plain
    assert drafted == 0
    pipeline.add(Add(50, pack(PROMPTS[0]), 5, GREEDY))
    lengths = pipeline.step().draft_lengths
    assert lengths == ((1, 4), (3, 0))
    pipeline.cancel(50)


@pytest.mark.parametrize(("kind", "drafts"), [("model", False), ("lookup", True)])
def test_prompts_that_would_hold_up_the_others_are_not_drafted_for(folders, plain, monkeypatch, kind, drafts):
    """Look-up cuts prompts into pieces, as the plain pipeline does, and holds up nobody."""
    _, small, _ = folders
    monkeypatch.setattr("trimtab.engines.pipeline.STALLING", 1)
    said, drafted, _ = answers(load(folders, str(small) if kind == "model" else "lookup", "1:3"))
    assert said == plain
    assert (drafted > 0) == drafts


def test_without_prefix_reuse_nothing_is_found_again(folders, plain):
    target, _, cache = folders
    pipeline = Pipeline(Profile(str(target), "f32", str(cache), 1, 4, 64, prefix_reuse=False))
    for number in (1, 2):
        pipeline.add(Add(number, pack(PROMPTS[3]), 4, GREEDY))
        while pipeline.busy:
            cached = [piece.cached for piece in pipeline.step().pieces]
    assert cached == [0]


def other_vocabulary(folder):
    tiny.write_checkpoint(folder, "qwen3", vocab_size=352, head_dim=32, tie_word_embeddings=True)


def other_tokenizer(folder):
    told = json.loads((folder / "tokenizer.json").read_text())
    words = told["model"]["vocab"]
    first, second = [word for word, number in words.items() if number in (100, 101)]
    words[first], words[second] = words[second], words[first]
    (folder / "tokenizer.json").write_text(json.dumps(told))


def missing_shard(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}})
    )


def not_numbers(folder):
    from trimtab.engines.checkpoint import open_checkpoint

    entry = open_checkpoint(folder).entries["model.norm.weight"]
    with entry.file.open("r+b") as file:
        file.seek(entry.offset)
        file.write(b"\xff\xff\xff\x7f")


def bad_card(folder):
    (folder / CARD).write_text('{"drafter": 3}')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_vocabulary, "vocabulary of 352"),
        (other_tokenizer, "another tokenizer"),
        (missing_shard, "model-00002-of-00002"),
        (not_numbers, "NaN"),
        (bad_card, "card"),
    ],
)
def test_a_drafter_that_does_not_fit_is_refused_in_one_line(folders, tmp_path, spoil, said):
    target, small, cache = folders
    spoiled = shutil.copytree(small, tmp_path / "spoiled")
    spoil(spoiled)
    with pytest.raises(ModelError, match=said) as found:
        drafter(str(spoiled), "", prepare(str(target), "f32", cache), cache)
    assert "\n" not in str(found.value)


def test_lengths_are_checked_before_anything_is_loaded():
    for settings in (Settings(("x",), draft_lengths="1:4"), Settings(("x",), draft="lookup", draft_lengths="2:4")):
        with pytest.raises(ConfigError):
            profiles(settings)


def test_a_card_alone_is_a_lookup_with_its_own_lengths(folders, tmp_path):
    target, _, cache = folders
    (tmp_path / CARD).write_text(json.dumps({"drafter": "lookup", "lengths": "1:3,2:0", "more": 1}))
    found = drafter(str(tmp_path), "", prepare(str(target), "f32", cache), cache)
    assert found.folder is None
    assert found.ladder == ((1, 3), (2, 0))


def test_through_a_worker_usage_and_metrics_tell_what_was_taken(folders):
    target, _, cache = folders

    async def asked():
        served = Served("m", Profile(str(target), "f32", str(cache), 1, 4, 64, draft=str(target), draft_lengths="1:4"))
        try:
            await served.start()
            generation = served.worker.generate(Add(0, pack(PROMPTS[1]), 21, GREEDY, streamed=False))
            piece = (await generation.next())[-1]
            served.tally.drafted_tokens, served.tally.taken_tokens = piece.drafted, piece.taken
            return piece, exposition([served])
        finally:
            await served.worker.stop()

    piece, page = asyncio.run(asked())
    assert 0 < piece.taken <= piece.drafted
    assert f'accepted_draft_tokens_total{{model="m"}} {piece.taken}' in page
    assert 'trimtab_engine_draft_length{model="m",concurrency="1"} 4' in page


def test_a_drafter_that_does_not_fit_ends_the_start(folders, tmp_path):
    target, small, cache = folders
    spoiled = shutil.copytree(small, tmp_path / "spoiled")
    other_tokenizer(spoiled)
    served = Served("m", Profile(str(target), "f32", str(cache), 1, 4, 64, draft=str(spoiled)))
    with pytest.raises(TrimtabError, match="another tokenizer"):
        asyncio.run(served.start())
