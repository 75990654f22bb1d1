"""Pairs of questions that differ in the one thing an answer hangs on, and pairs that differ in words alone.

A meaning is a few phrasings with a slot. Two phrasings with one filling are a paraphrase; with two fillings, or a
phrasing of each side, an opposite. The rules were written against the family `seen`; `held` has other meanings,
phrasings and fillings, and was measured when the rules stood. `strange` is what no list of words can hold: names and
opposites that are on none, numbers written in two ways, denials without a word that denies.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

FAMILIES = ("seen", "held", "strange")


@dataclass(frozen=True)
class Pair:
    kind: str
    family: str
    opposite: bool
    asked: str
    held: str


# kind -> (fillings, meanings); a meaning is a list of phrasings.
SEEN = {
    "number": (
        ["3", "12", "40", "250", "1,500", "7", "two", "fifteen", "99.5", "20 %", "0.5"],
        [
            [
                "How do I set the limit to {}?",
                "What must I do to set the limit to {}?",
                "How can the limit be set to {}?",
            ],
            [
                "What is the fee for {} transfers?",
                "How much do {} transfers cost in fees?",
                "Which fee applies to {} transfers?",
            ],
            ["Can I order {} cards?", "Is it possible to order {} cards?", "May I order {} cards at once?"],
            ["What is {} squared?", "Compute the square of {}", "Tell me what {} squared is"],
        ],
    ),
    "id": (
        ["A1234", "ORD-7781", "x99-b", "KL1042", "b2c3d4", "SKU88213", "AB-12-CD", "ZX81", "4F2A"],
        [
            ["Where is order {}?", "Can you tell me where order {} is?", "What is the whereabouts of order {}?"],
            ["Please refund invoice {}", "I'd like a refund of invoice {}", "Refund the invoice {} for me"],
            ["What is the status of ticket {}?", "Which status does ticket {} have?", "Status of ticket {} please"],
        ],
    ),
    "date": (
        [
            "on Monday",
            "on Friday",
            "in March",
            "in October",
            "tomorrow",
            "on 2024-05-01",
            "at 17:30",
            "at 9:15",
            "on 3 July",
        ],
        [
            ["Are you open {}?", "Will the shop be open {}?", "Is the store open {}?"],
            ["Can I book a table {}?", "I would like to book a table {}", "Is there a table I can book {}?"],
            ["What is on my calendar {}?", "Show me my calendar {}", "What does my calendar say {}?"],
        ],
    ),
    "unit": (
        ["5 miles", "5 km", "5 kg", "5 pounds", "5 hours", "5 days", "5 liters", "5 gallons", "5 feet", "5 weeks"],
        [
            ["How much is {} exactly?", "What exactly does {} amount to?", "Tell me exactly how much {} is"],
            ["Is {} too much?", "Would {} be too much?", "Do you think {} is too much?"],
        ],
    ),
    "currency": (
        ["$80", "€80", "£80", "80 yen", "80 rupees", "80 francs"],
        [
            ["Can I pay {} in cash?", "Is paying {} in cash possible?", "May I pay {} in cash?"],
            ["Why was I charged {}?", "What is the reason I was charged {}?", "For what was I charged {}?"],
        ],
    ),
    "quote": (
        ['"access denied"', '"out of range"', '"file is locked"', '"try again later"', '"no such user"'],
        [
            ["What does {} mean?", "What is the meaning of {}?", "Can you explain what {} means?"],
            ["How do I get rid of the message {}?", "How can I make the message {} go away?", "Remove the message {}"],
        ],
    ),
    "code": (
        [
            "parse_args()",
            "read_csv",
            "os.path.join",
            "getElementById",
            "--force",
            "main.py",
            "user_id",
            "std::move",
            "/etc/hosts",
        ],
        [
            ["What does {} do?", "Explain what {} does", "What is {} for?"],
            ["How do I use {}?", "Show me how to use {}", "How is {} used?"],
        ],
    ),
    "name": (
        ["Paris", "Berlin", "Tokyo", "Canada", "Mexico", "Alice", "Robert", "Netflix", "Spanish", "Chicago"],
        [
            [
                "Do you have anything about {}?",
                "Is there anything you have about {}?",
                "Have you got anything about {}?",
            ],
            ["Tell me a fact about {}", "I want to hear a fact about {}", "What is a fact about {}?"],
            ["How does one spell {}?", "What is the spelling of {}?", "How is {} spelt?"],
        ],
    ),
    "negation": (
        [""],
        [
            (
                ["Why is my card working?", "What is the reason my card is working?", "How come my card is working?"],
                [
                    "Why isn't my card working?",
                    "What is the reason my card is not working?",
                    "How come my card isn't working?",
                ],
            ),
            (
                [
                    "Which plans include roaming?",
                    "What are the plans that include roaming?",
                    "Plans including roaming?",
                ],
                [
                    "Which plans do not include roaming?",
                    "What are the plans that don't include roaming?",
                    "Plans without roaming?",
                ],
            ),
            (
                [
                    "Can I travel with a visa?",
                    "Am I able to travel with a visa?",
                    "Is it possible to travel with a visa?",
                ],
                [
                    "Can I travel without a visa?",
                    "Am I able to travel without a visa?",
                    "Is it possible to travel without a visa?",
                ],
            ),
            (
                [
                    "I want to receive the newsletter",
                    "I would want to receive the newsletter",
                    "I do want to receive your newsletter",
                ],
                [
                    "I don't want to receive the newsletter",
                    "I never want to receive the newsletter",
                    "I no longer want to receive your newsletter",
                ],
            ),
            (
                [
                    "What should I eat with fever?",
                    "Which food should I eat with fever?",
                    "With fever, what should I eat?",
                ],
                [
                    "What shouldn't I eat with fever?",
                    "Which food should I not eat with fever?",
                    "With fever, what should I never eat?",
                ],
            ),
        ],
    ),
    "antonym": (
        [
            "open/close",
            "enable/disable",
            "lock/unlock",
            "activate/deactivate",
            "increase/decrease",
            "add/remove",
            "start/stop",
            "install/uninstall",
            "freeze/unfreeze",
            "hide/show",
            "mute/unmute",
            "block/unblock",
            "upgrade/downgrade",
        ],
        [
            ["How do I {} it?", "How can I {} it?", "What do I have to do to {} it?"],
            ["Please {} my account", "I'd like to {} my account", "I want to {} my account"],
            [
                "Is there a fee when I {} the service?",
                "Do you charge a fee if I {} the service?",
                "Will there be a fee when I {} the service?",
            ],
        ],
    ),
    "direction": (
        ["savings/checking", "Boston/Denver", "euros/dollars", "Word/Excel", "Java/Python"],
        [
            [
                "How do I get from {a} to {b}?",
                "What is the way to get from {a} to {b}?",
                "From {a}, how do I get to {b}?",
            ],
            ["Move it from {a} to {b}", "Please move it from {a} to {b}", "I want it moved from {a} to {b}"],
            [
                "Is {a} better than {b}?",
                "Would you say {a} is better than {b}?",
                "Do you think {a} is better than {b}?",
            ],
        ],
    ),
}

HELD = {
    "number": (
        ["4", "19", "65", "720", "2,300", "eleven", "ninety", "6.25", "35 %", "1000000"],
        [
            [
                "What discount do groups of {} get?",
                "Is there a discount for groups of {}?",
                "Groups of {}: which discount do they get?",
            ],
            ["Recipe for {} people please", "I need a recipe for {} people", "Give me a recipe that feeds {} people"],
            ["Why was {} deducted?", "For what reason was {} deducted?", "What is the reason {} got deducted?"],
            ["Show the last {} payments", "I want to see the last {} payments", "List my last {} payments"],
        ],
    ),
    "id": (
        ["QF32", "INV-00912", "r2d2", "BX77", "7c9e6679", "TCK4410", "GH-9", "M4A1", "S21"],
        [
            ["When does flight {} land?", "At what time does flight {} land?", "Landing time of flight {}?"],
            [
                "Is part {} in your catalogue?",
                "Does your catalogue list part {}?",
                "Do you list part {} in the catalogue?",
            ],
            ["Open case {} for me", "Could you open case {}?", "I need case {} opened"],
        ],
    ),
    "date": (
        [
            "on Sunday",
            "on Thursdays",
            "in January",
            "in August",
            "tonight",
            "by 2025-11-30",
            "at 6:45",
            "at 22:00",
            "for 12 December",
        ],
        [
            ["Which trains run {}?", "What trains are running {}?", "Are there trains that run {}?"],
            ["Set a reminder {}", "I need a reminder set {}", "Please set me a reminder {}"],
            ["What will the weather be like {}?", "How will the weather be {}?", "Weather forecast {}?"],
        ],
    ),
    "unit": (
        [
            "8 ounces",
            "8 grams",
            "8 meters",
            "8 yards",
            "8 minutes",
            "8 months",
            "8 cups",
            "8 inches",
            "8 tons",
            "8 gigabytes",
        ],
        [
            ["Will {} be enough?", "Are {} going to be enough?", "Do you reckon {} suffice?"],
            ["Convert {} for me", "I need {} converted", "Could you convert {}?"],
        ],
    ),
    "currency": (
        ["¥45", "$45", "45 euros", "45 pounds", "45 pesos", "45 zloty"],
        [
            [
                "Will a withdrawal of {} cost me something?",
                "Is a withdrawal of {} free?",
                "Do I pay for a withdrawal of {}?",
            ],
            ["Refund me {}", "I want {} refunded", "Please refund {} to me"],
        ],
    ),
    "quote": (
        ['"disk quota exceeded"', '"unknown host"', '"please wait"', "“bad gateway”", "`permission denied`"],
        [
            ["The printer says {}, why?", "Why does the printer say {}?", "For what reason does the printer say {}?"],
            ["Translate {} into plain words", "Put {} into plain words", "What is {} in plain words?"],
        ],
    ),
    "code": (
        [
            "merge_sort()",
            "np.linalg.norm",
            "useEffect",
            "--dry-run",
            "config.yaml",
            "MAX_RETRIES",
            "Vec::push",
            "~/.bashrc",
            "fetchAll",
        ],
        [
            ["Why does {} fail?", "What makes {} fail?", "For which reason does {} fail?"],
            ["Write a test for {}", "I need a test for {}", "Could you write tests for {}?"],
        ],
    ),
    "name": (
        ["Lisbon", "Oslo", "Kenya", "Peru", "Texas", "Maria", "Kevin", "Spotify", "Italian", "Volkswagen"],
        [
            ["Find me someone who knows {}", "Who is there that knows {}?", "Is there someone who knows {}?"],
            ["Any news regarding {}?", "Is there any news regarding {}?", "Give me the news regarding {}"],
            [
                "When did you last hear of {}?",
                "When was the last time you heard of {}?",
                "How long ago did you hear of {}?",
            ],
        ],
    ),
    "negation": (
        [""],
        [
            (
                ["Who may enter the lab?", "Which people may enter the lab?", "Who is it that may enter the lab?"],
                [
                    "Who may not enter the lab?",
                    "Which people mustn't enter the lab?",
                    "Who is it that can't enter the lab?",
                ],
            ),
            (
                ["My parcel has arrived", "The parcel has arrived", "Good news, my parcel arrived"],
                ["My parcel has not arrived", "The parcel hasn't arrived", "Bad news, my parcel never arrived"],
            ),
            (
                ["Does the hotel allow dogs?", "Are dogs allowed by the hotel?", "Will the hotel allow dogs?"],
                [
                    "Does the hotel not allow dogs?",
                    "Aren't dogs allowed by the hotel?",
                    "Will the hotel never allow dogs?",
                ],
            ),
            (
                ["Show flights with a stopover", "Flights with a stopover please", "I'd like flights with a stopover"],
                [
                    "Show flights without a stopover",
                    "Flights with no stopover please",
                    "I'd like flights without any stopover",
                ],
            ),
            (
                [
                    "Which medicines contain alcohol?",
                    "What medicines contain alcohol?",
                    "List medicines that contain alcohol",
                ],
                [
                    "Which medicines don't contain alcohol?",
                    "What medicines contain no alcohol?",
                    "List medicines that do not contain alcohol",
                ],
            ),
        ],
    ),
    "antonym": (
        [
            "import/export",
            "accept/reject",
            "subscribe to/unsubscribe from",
            "expand/shrink",
            "encrypt/decrypt",
            "pause/resume",
            "buy/sell",
            "connect/disconnect",
            "raise/lower",
            "approve/deny",
            "load/unload",
            "lend/borrow",
            "compress/decompress",
        ],
        [
            ["Is it hard to {} these?", "Would it be hard to {} these?", "How hard is it to {} these?"],
            ["When can I {} them?", "From when on can I {} them?", "At what point may I {} them?"],
            ["What happens after I {} one?", "After I {} one, what happens?", "Tell me what happens after I {} one"],
        ],
    ),
    "direction": (
        ["Madrid/Lyon", "French/German", "Celsius/Kelvin", "MySQL/Postgres", "bronze/silver"],
        [
            [
                "How long does it take from {a} to {b}?",
                "From {a} to {b}, how long does it take?",
                "Time needed from {a} to {b}?",
            ],
            [
                "Convert this from {a} to {b}",
                "I need this converted from {a} to {b}",
                "Could you convert this from {a} to {b}?",
            ],
            ["Is {a} larger than {b}?", "Would {a} be larger than {b}?", "Can you say whether {a} is larger than {b}?"],
        ],
    ),
}

STRANGE = {
    "number": (
        ["30|thirty", "2|two", "1,000|1000", "5k|5000", "25 %|25 percent", "third|3rd", "forty five|45", "2.50|2.5"],
        [
            ["Is {} the most one can have?", "The most one can have is {}, right?", "Can one have {} at most?"],
            ["Why do you ask for {}?", "For what do you ask {}?", "What is the reason you ask for {}?"],
        ],
    ),
    "name": (
        ["Grimsby", "Tartu", "Priya", "Oluwaseun", "Zalando", "Figma", "Basque", "Nkechi", "Ouagadougou"],
        [
            ["Who told you about {}?", "From whom did you hear about {}?", "Who was it that told you about {}?"],
            ["Send the file to {}", "I want the file sent to {}", "Please send the file over to {}"],
        ],
    ),
    "antonym": (
        ["mint/burn", "promote/demote", "bless/curse", "inflate/deflate", "hire/dismiss", "glue/peel", "recruit/expel"],
        [
            ["How often can I {} one?", "How many times may I {} one?", "Is there a limit on how often I {} one?"],
            ["Who decides what to {}?", "Who is it that decides what to {}?", "By whom is it decided what to {}?"],
        ],
    ),
    "negation": (
        [""],
        [
            (
                ["The app loads the page", "My app loads the page", "This app does load the page"],
                [
                    "The app fails to load the page",
                    "My app refuses to load the page",
                    "This app is unable to load the page",
                ],
            ),
            (
                ["Which yoghurts have sugar?", "What yoghurts have sugar in them?", "Yoghurts with sugar?"],
                ["Which yoghurts lack sugar?", "What yoghurts are free of sugar?", "Sugar-free yoghurts?"],
            ),
            (
                ["They let us in", "They did let us in", "They have let us in"],
                ["They kept us from getting in", "They barely let us in", "They have yet to let us in"],
            ),
        ],
    ),
}


def pairs(seed: int = 0, each: int = 60) -> list[Pair]:
    """For each kind and meaning of every family about `each` opposites and `each` paraphrases, without repeats."""
    rng = random.Random(seed)
    found: dict[tuple[str, str], Pair] = {}
    for family, kinds in zip(FAMILIES, (SEEN, HELD, STRANGE), strict=True):
        for kind, (fillings, meanings) in kinds.items():
            for meaning in meanings:
                for _ in range(each):
                    for opposite in (True, False):
                        asked, held = _draw(rng, kind, fillings, meaning, opposite)
                        if asked.casefold() != held.casefold():
                            found[asked, held] = Pair(kind, family, opposite, asked, held)
    return list(found.values())


def _draw(rng: random.Random, kind: str, fillings: list[str], meaning: object, opposite: bool) -> tuple[str, str]:
    if kind == "negation":
        plain, denied = meaning
        sides = (plain, denied) if opposite else rng.choice([(plain, plain), (denied, denied)])
        texts = [rng.choice(side) for side in sides]
    elif kind == "direction":
        one, two = rng.choice(fillings).split("/")
        first, second = rng.sample([one, two], 2)
        turned = (second, first) if opposite else (first, second)
        texts = [rng.choice(meaning).format(a=a, b=b) for a, b in ((first, second), turned)]
    elif kind == "antonym":
        words = rng.sample(rng.choice(fillings).split("/"), 2)
        texts = [rng.choice(meaning).format(word) for word in (words if opposite else words[:1] * 2)]
    else:
        words = rng.sample(fillings, 2)
        words = [rng.choice(word.split("|")) for word in (words if opposite else words[:1] * 2)]
        texts = [rng.choice(meaning).format(word) for word in words]
    return _written(rng, texts[0], kind), _written(rng, texts[1], kind)


def _written(rng: random.Random, text: str, kind: str) -> str:
    """As people type: some without capitals, some without the last mark. Code is typed as it is."""
    if rng.random() < 0.4 and kind not in ("code", "id", "quote"):
        text = text.lower()
    return text.rstrip("?") if rng.random() < 0.4 else text
