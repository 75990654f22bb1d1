"""An artefact is its content: the same bytes, the same address; one other bit, refused."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from trimtab.errors import StoreError
from trimtab.store.artifacts import ArtifactStore, digest_of


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 20)
    (folder / "deep" / "config.json").write_text("{}")
    return folder


def test_what_is_put_is_got(store, source):
    made = store.put(source, {"seed": 7, "traces": ["a"]})
    got = store.get(made.digest)
    assert got == made and got.manifest == {"seed": 7, "traces": ["a"]}
    assert (got.folder / "deep" / "config.json").read_text() == "{}"
    assert [artifact.digest for artifact in store.list()] == [made.digest]


def test_the_address_is_the_content_s_alone(store, source, tmp_path):
    first = store.put(source, {"seed": 7})
    os.utime(source / "weights.bin", (1, 1))
    again = store.put(source, {"seed": 8})
    assert again == first and len(store.list()) == 1
    (source / "deep" / "config.json").rename(source / "deep" / "other.json")
    assert digest_of(source) != first.digest


def test_names_and_bytes_cannot_stand_in_for_each_other(tmp_path):
    for name, files in {"a": {"x": b"yz", "z": b""}, "b": {"x": b"y", "zz": b""}, "c": {"xy": b"z", "z": b""}}.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
    assert len({digest_of(tmp_path / name) for name in "abc"}) == 3


@pytest.mark.parametrize("change", ["flip", "add", "remove", "link"])
def test_an_altered_byte_is_refused(store, source, change):
    artifact = store.put(source, {})
    file = artifact.folder / "weights.bin"
    if change == "flip":
        content = bytearray(file.read_bytes())
        content[4_000] ^= 1
        file.write_bytes(content)
    elif change == "add":
        (artifact.folder / "more").write_bytes(b"")
    elif change == "remove":
        file.unlink()
    else:
        file.rename(artifact.folder.parent / "elsewhere")
        file.symlink_to(artifact.folder.parent / "elsewhere")
    with pytest.raises(StoreError, match=r"was altered|not a plain file"):
        store.get(artifact.digest)


@pytest.mark.parametrize("digest", ["", "..", "0" * 64, "../source", "x"])
def test_an_unknown_address_is_refused(store, source, digest):
    store.put(source, {})
    with pytest.raises(StoreError, match="no artefact"):
        store.get(digest)


def test_a_link_or_a_missing_folder_cannot_be_put_and_leaves_nothing(store, source, tmp_path):
    with pytest.raises(StoreError, match="is no folder"):
        store.put(tmp_path / "none", {})
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="not a plain file"):
        store.put(source, {})
    assert store.list() == [] and list(store.folder.iterdir()) == []


def test_many_puts_of_the_same_at_once_make_one(store, source):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: store.put(source, {}), range(8)))
    assert len({artifact.digest for artifact in made}) == 1
    assert [path.name for path in store.folder.iterdir()] == [made[0].digest]
