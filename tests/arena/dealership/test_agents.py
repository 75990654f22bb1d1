from trimtab.arena.dealership import agents


def test_four_agents_each_with_its_own_prompt_and_tools():
    assert set(agents.AGENTS) == {"triage", "sales", "finance", "service"}
    assert len({agent.system for agent in agents.AGENTS.values()}) == 4
    assert len({agent.tools for agent in agents.AGENTS.values()}) == 4


def test_nobody_hands_over_to_themselves_and_all_can_be_reached():
    for agent in agents.AGENTS.values():
        assert f"transfer_to_{agent.name}" not in agent.tools
    reached = {agents.TRANSFERS[name] for name in agents.AGENTS["triage"].tools if name in agents.TRANSFERS}
    assert reached == {"sales", "finance", "service"}


def test_triage_hands_on_all_it_heard_and_others_the_last_word():
    heard = [{"role": "system", "content": "s"}, {"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    assert agents.handed_on("triage", heard, {"customer_id": "C1"}) == ("[from triage] C1", ["one", "two"])
    assert agents.handed_on("sales", heard, {}) == ("[from sales]", ["two"])


def test_an_opening_holds_prompt_note_and_words():
    system, user = agents.opening("sales", ["one", "two"], "[from triage] C1")
    assert system == {"role": "system", "content": agents.AGENTS["sales"].system}
    assert user == {"role": "user", "content": "[from triage] C1\none\ntwo"}
