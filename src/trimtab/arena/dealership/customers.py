"""The customer: a seeded state machine that speaks by the paraphrase grammar and understands by keywords.

No language model plays the customer, so no failure is the simulator's. Knows nothing of the agents behind the text.
"""

from __future__ import annotations

import random
import re
from typing import Any

from trimtab.arena.dealership import phrases
from trimtab.arena.dealership.goals import Goal

PERSONAS = ("plain", "polite", "terse", "chatty", "rushed")
TYPO_RATE = {"plain": 0.05, "polite": 0.02, "terse": 0.08, "chatty": 0.06, "rushed": 0.25}

# What an agent's question asks for. Order matters only for the order in which a customer answers.
QUESTIONS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (slot, re.compile(pattern))
    for slot, pattern in (
        ("phone", r"phone|number"),
        ("name", r"\bname\b"),
        ("max_price", r"budget|how much .*spend|price (range|limit)"),
        ("mileage", r"mileage|how many miles|odometer"),
        ("months", r"how many months|over how long|\bterm\b|loan length"),
        ("down_payment", r"down payment|up front|deposit"),
        ("day", r"which day|what day|what date|which date|when would|preferred day"),
        ("time", r"what time|which time|which one|time of day|time works|preferred time"),
    )
)
CONFIRM = re.compile(r"shall i|should i|go ahead|may i (book|file|cancel|reserve|proceed)|confirm|do you want me to")
CLOCK = re.compile(r"\b\d{2}:\d{2}\b")


class Customer:
    """One customer with one goal.

    `known` is what they have said so far; `agreed` and `declined` are their last word on a change.
    """

    def __init__(self, goal: Goal, persona: str, split: str, rng: random.Random) -> None:
        self.goal = goal
        self.persona = persona
        self.split = split
        self.rng = rng
        self.known: dict[str, Any] = {}
        self.declined = False
        self.agreed = False
        self._minded = False
        self._puzzled = 0
        self._second_said = False

    def open(self) -> str:
        """The first thing they say."""
        return self._dress(self._ask(self.goal), greet=True)

    def reply(self, text: str) -> str | None:
        """Their answer to what an agent said, or None when they leave."""
        low = text.lower()
        if "?" in low and not re.search(r"anything else|help you with", low):
            answer = self._answer(low)
            if answer is not None:
                return answer
            self._puzzled += 1
            return None if self._puzzled > 2 else "I am not sure."
        if self.goal.second is not None and not self._second_said and not self.declined:
            self._second_said = True
            return self._begin_second(self.goal.second)
        return None

    def _begin_second(self, second: Goal) -> str:
        for slot in second.slots:
            if slot in ("day", "time", "months", "down_payment"):
                self.known.pop(slot, None)
        self.goal, self._minded, self.agreed = second, False, False
        return self._dress(self.rng.choice(phrases.SECONDS).format(self._ask(second)))

    def _answer(self, low: str) -> str | None:
        """One answer to every fact the question asks for; a question to confirm is answered by their mind."""
        if CONFIRM.search(low):
            return self._decide()
        wanted = [slot for slot, pattern in QUESTIONS if pattern.search(low) and slot in self.goal.slots]
        if "time" in wanted and "time" in self.known:
            self._take_offered(low)
        said = [self._say(slot) for slot in wanted]
        return self._dress(". ".join(said)) if said else None

    def _take_offered(self, low: str) -> None:
        """Their time is taken: they choose the first one offered that is not the one they wanted."""
        offered = [time for time in CLOCK.findall(low) if time != self.known["time"]]
        if offered:
            self.goal.slots["time"] = offered[0]

    def _decide(self) -> str:
        if self._minded or self.goal.mind == "yes":
            self.agreed = True
            return self._dress(self._pick(phrases.replies("yes", self.split)))
        self._minded = True
        if self.goal.mind == "no":
            self.declined = True
            return self._dress(self._pick(phrases.replies("no", self.split)))
        self.goal.slots.update(self.goal.changed)
        self.known.update(self.goal.changed)
        template = self._pick(phrases.replies("change", self.split))
        return self._dress(template.replace("{change}", self._changed_words()))

    def _changed_words(self) -> str:
        if "months" in self.goal.changed:
            return "{months} months"
        return "{day} at {time}"

    def _say(self, slot: str) -> str:
        self.known[slot] = self.goal.slots[slot]
        return self._pick(phrases.replies(slot, self.split))

    def _ask(self, goal: Goal) -> str:
        """The ask with the facts given at once; what is said is remembered."""
        kind = f"info_{goal.slots['topic']}" if goal.kind == "info" else goal.kind
        self.known.update({slot: goal.slots[slot] for slot in goal.at_once})
        template = self._pick(phrases.openings(kind, self.split))
        order = [slot for slot in goal.slots if slot in goal.at_once and "{" + slot + "}" not in template]
        return phrases.with_tails(template, order, self.rng)

    def _pick(self, templates: list[str]) -> str:
        return self.rng.choice(templates)

    def _dress(self, template: str, greet: bool = False) -> str:
        """The persona's manner, typos, then the facts; typos never touch a fact."""
        rng = self.rng
        if rng.random() < TYPO_RATE[self.persona]:
            template = phrases.typo(template, rng)
        text = self._fill(template)
        if text and text[-1].isalnum() and self.persona not in ("terse", "rushed"):
            text += "."
        if self.persona == "terse":
            return text[0].lower() + text[1:]
        if greet and self.persona in ("polite", "chatty"):
            text = rng.choice(phrases.GREETINGS) + text
        if self.persona == "chatty" and rng.random() < 0.5:
            text += rng.choice(phrases.SMALL_TALK)
        return text + rng.choice(phrases.CLOSERS) if self.persona == "polite" and greet else text

    def _fill(self, template: str) -> str:
        values = {key: str(value) for key, value in self.goal.slots.items()}
        if "time" in values:
            values["time"] = self.rng.choice(phrases.SPOKEN.get(values["time"], (values["time"],)))
        return template.format_map(values)
