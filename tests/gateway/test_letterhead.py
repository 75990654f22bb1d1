"""Headers that repeat on a connection are read once; others never get what was read of them."""

import http.client
import json

from hypothesis import given
from hypothesis import strategies as st

from trimtab.gateway import leg
from trimtab.gateway.letterhead import Letterhead, once

BODY = json.dumps({"model": "fake-model", "messages": [{"role": "user", "content": "hello"}]})
PAIRS = st.lists(
    st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"user-agent", b"x-odd"]), st.binary(max_size=6))
)


def test_one_letterhead_is_read_once_and_a_plain_tuple_every_time():
    read = []

    def count(headers):
        read.append(len(headers))
        return sum(len(held) for _, held in headers)

    letterhead = Letterhead(((b"a", b"12"), (b"b", b"3")))
    assert [once(count, letterhead), once(count, letterhead), read] == [3, 3, [2]]
    assert [once(count, Letterhead(letterhead)), once(count, tuple(letterhead)), once(count, ()), read] == [
        *(3, 3, 0),
        [2, 2, 2, 0],
    ]


def test_what_is_none_is_read_once_too():
    read = []
    letterhead = Letterhead()
    assert once(read.append, letterhead) is None and once(read.append, letterhead) is None
    assert read == [letterhead]


@given(pairs=PAIRS)
def test_a_letterhead_is_no_other_than_its_pairs(pairs):
    assert Letterhead(pairs) == tuple(pairs) and list(Letterhead(pairs)) == pairs
    assert once(leg._kept, Letterhead(pairs)) == leg._kept(pairs)


def test_callers_who_share_a_connection_share_nothing_else(gateway):
    """A proxy before the gateway sends many clients' requests over one connection."""
    callers = ["ann", "ann", "bob", "ann", "bob", "", "ann"]
    connection = http.client.HTTPConnection(gateway.host, timeout=20)
    answered = []
    for place, name in enumerate(callers):
        headers = {"Content-Type": "application/json"}
        if name:
            headers |= {"X-Trimtab-User": name, "X-Trimtab-Session": f"of {name}", "Authorization": f"Bearer {name}"}
        # Bodies of other lengths, whose Content-Length alone makes no other letterhead.
        connection.request("POST", "/v1/chat/completions", BODY + " " * place, headers)
        response = connection.getresponse()
        assert response.status == 200 and response.read()
        answered.append({key.lower(): held for key, held in response.getheaders()})
    connection.close()
    sent = [seen.headers.get("Authorization", "") for seen in gateway.upstream.seen]
    assert sent == [f"Bearer {name}" if name else "" for name in callers]
    assert [len(seen.body) for seen in gateway.upstream.seen] == [len(BODY) + place for place in range(len(callers))]
    recorded = [gateway.call(headers)[0] for headers in answered]
    assert [(call.user, call.session) for call in recorded] == [
        (name, f"of {name}") if name else ("", "") for name in callers
    ]
    assert len({call.trace_id for call in recorded}) == 3
    assert len({call.id for call in recorded} | {call.span_id for call in recorded}) == 2 * len(callers)
