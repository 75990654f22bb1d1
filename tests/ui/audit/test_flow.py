"""The graph of agents: layers for any hand-offs, however they circle."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.ui.audit import flow
from trimtab.ui.audit.flow import Edge, Node

NAMES = st.sampled_from("abcdefgh")
EDGES = st.lists(st.builds(Edge, source=NAMES, target=NAMES, count=st.integers(1, 10**6)), max_size=30)


@given(EDGES)
def test_every_agent_stands_once_and_no_arrow_skips_a_layer(edges):
    layers = flow.layered("abcdefgh", edges)
    depth = {name: at for at, layer in enumerate(layers) for name in layer}
    assert sorted(depth) == sorted("abcdefgh") == sorted(name for layer in layers for name in layer)
    assert all(layers)
    assert all(depth[edge.target] - depth[edge.source] <= 1 for edge in edges)


def test_work_comes_in_on_the_left():
    edges = [Edge("triage", "sales", 9), Edge("triage", "service", 5), Edge("service", "triage", 1)]
    assert flow.layered(["service", "sales", "triage"], edges) == [["triage"], ["service", "sales"]]


def test_names_are_escaped_and_more_than_can_be_read_are_left_out():
    nodes = [Node("<b>", ("1 & 2",))] + [Node(f"agent-{index}") for index in range(40)]
    drawn = flow.drawn(nodes, [Edge("<b>", "agent-1", 3, critical=True), Edge("agent-39", "<b>", 1)], "hand-offs")
    assert "<b>" not in drawn
    assert "&lt;b&gt;" in drawn
    assert "agent-39" not in drawn
    assert drawn.count("<svg") == 2


def test_nothing_to_draw_is_nothing_drawn():
    assert flow.drawn([], [], "none") == ""
