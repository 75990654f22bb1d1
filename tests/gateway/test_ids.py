"""Random ids: of the length asked for, and different, also in processes that fork."""

import os

from trimtab.gateway import ids


def test_they_have_their_length_and_do_not_repeat():
    drawn = [ids.digits(count) for _ in range(3000) for count in (16, 20, 32)]
    assert {len(one) for one in drawn} == {16, 20, 32}
    assert len(set(drawn)) == len(drawn) and set("".join(drawn)) == set("0123456789abcdef")


def test_a_forked_process_draws_its_own():
    ids.digits(16)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, "".join(ids.digits(32) for _ in range(20)).encode())
        os._exit(0)
    os.close(writing)
    theirs = os.read(reading, 10_000).decode()
    os.waitpid(child, 0)
    ours = [ids.digits(32) for _ in range(20)]
    assert len(theirs) == 640
    assert not any(one in theirs for one in ours)
