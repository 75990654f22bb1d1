import string

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.data import dedup, split
from trimtab.data.conversation import Conversation, Funnel

WORDS = [f"w{n}" for n in range(200)]


def talk(text, agent="a", session="s"):
    messages = [{"role": "system", "content": "the same long system prompt every time " * 20},
                {"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]  # fmt: skip
    return Conversation(messages=messages, tools=[], taught=(2,), agent=agent, session=session)


def test_the_system_prompt_makes_no_duplicates():
    funnel = Funnel()
    assert len(dedup.distinct([talk("tyres please"), talk("what are your opening hours")], funnel)) == 2


def test_the_same_and_nearly_the_same_go_but_not_for_another_agent():
    long = " ".join(WORDS)
    near = " ".join([*WORDS[:-1], "other"])
    far = " ".join(WORDS[:100] + ["x"] * 100)
    found = [talk(long), talk(long.upper() + "!"), talk(near), talk(far), talk(long, agent="b")]
    funnel = Funnel()
    assert dedup.distinct(found, funnel) == [found[0], found[3], found[4]]
    assert funnel.counts[0].why == {"the same": 1, "nearly the same": 1}


def test_what_the_gate_asks_goes():
    funnel = Funnel()
    kept = dedup.decontaminated(
        [talk("the gate's own question"), talk("another one")], ["The gate's own question?"], funnel
    )
    assert [each.opening for each in kept] == ["another one"]


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 199), min_size=0, max_size=2))
def test_one_word_changed_of_two_hundred_is_found(places):
    seen = dedup.Seen()
    seen.add(" ".join(WORDS))
    changed = [("other" if at in places else word) for at, word in enumerate(WORDS)]
    assert seen.like(" ".join(changed))


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_any_text_is_like_itself(text):
    seen = dedup.Seen()
    seen.add(text)
    assert seen.like(text)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.text(string.ascii_lowercase + " ", max_size=12)), max_size=40)
)
def test_a_session_is_whole_on_one_side_and_a_family_too(rows):
    found = [talk(text, session=session) for session, text in rows]
    train, held = split.parted(found, Funnel(), 0.3)
    assert sorted(map(id, [*train, *held])) == sorted(map(id, found))
    sides = {each.session for each in train}, {each.session for each in held}
    assert not sides[0] & sides[1]
    first = {}
    for each in found:
        first.setdefault(each.session, split.family(each.opening))
    assert not {first[name] for name in sides[0]} & {first[name] for name in sides[1]}


def test_a_family_is_a_text_without_its_values():
    one = split.family('Please book the Halden Orbit for 9:30, order "A 1"')
    other = split.family('Please book the Juno for 12:00, order "B"')
    assert one == other != split.family("Please cancel order 5")
