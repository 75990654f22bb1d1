"""What a question says word by word: tokens, quantities, dates, names, polarity; and how two questions differ.

Knows English; of other languages it sees numbers, ids, quotes, code and capital letters.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache

import msgspec

from trimtab.levers.cache import vocabulary
from trimtab.levers.cache.vocabulary import ASKING, FUNCTION, QUESTION

# Order matters: what comes first takes the characters. Lengths are bounded and words are tried from their first letter
# only, so that no text takes time beyond its length.
_PIECES = re.compile(
    r"""(?P<quote>"[^"\n]{1,200}"|“[^”\n]{1,200}”|«[^»\n]{1,200}»|`[^`\n]{1,200}`|(?<!\w)'[^'\n]{2,200}'(?!\w))
    |(?P<code>https?://\S{1,200}|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}\.[\w.]{1,64}|(?<!\w)--?[A-Za-z][\w-]{0,40}
        |(?<!\w)(?=\w{0,40}[^\W\d_])(?:\w{1,40}_\w{0,40}|_\w{1,40})|(?<!\w)\w{1,40}(?:::\w{1,40}){1,8}|(?<!\w)\w{1,40}\(\)
        |(?<!\w)[A-Za-z]\w{1,40}(?:\.[a-z_]\w{1,40}){1,8}(?:\(\))?|(?<![\w/])[./~]{0,3}/[\w./-]{1,200}
        |(?<!\w)[a-z]{2,40}[A-Z]\w{0,40}
        |(?<!\w)[a-z]{1,40}\.(?:py|js|ts|c|h|go|rs|java|sh|md|json|yaml|toml|txt|csv|pdf)\b)
    |(?P<date>(?<!\d)\d{4}-\d{1,2}-\d{1,2}|(?<!\d)\d{1,2}[/.]\d{1,2}[/.]\d{2,4}|(?<!\d)\d{1,2}:\d{2}(?::\d{2})?)
    |(?P<id>(?<!\w)(?=[\w-]{0,40}\d)(?=[\w-]{0,40}[^\W\d_])
        (?!\d{1,15}(?:[.,]\d{1,15}){0,5}(?:st|nd|rd|th|k|m|bn|[a-z]{1,5})(?![\w-]))[^\W_][\w-]{0,60}[^\W_])
    |(?P<number>[-+]?(?<!\d)\d{1,300}(?:[.,]\d{1,30}){0,30}(?:st|nd|rd|th)?)
    |(?P<sign>[$€£¥₹%])
    |(?P<word>[^\W\d_]{1,60}(?:['’][^\W\d_]{1,60}){0,2})""",
    re.VERBOSE,
)
_FIGURE = re.compile(r"[-+]?\d+(?:[.,]\d+)*")
_ORDINAL = re.compile(r"\d+(?:[.,]\d+)*(?:st|nd|rd|th)")
_CONTRACTED = {"cant": "can not", "wont": "will not", "shant": "shall not", "cannot": "can not"}
_SHORTENED = vocabulary.words(
    "dont doesnt didnt isnt arent wasnt werent havent hasnt hadnt couldnt shouldnt wouldnt mustnt neednt aint"
)
_FORMS: dict[str, Callable[[str], str]] = {
    "quote": lambda text: " ".join(re.findall(r"\w+", text.casefold())),
    "id": lambda text: text.casefold().replace("-", ""),
    "code": lambda text: text.rstrip(".,;:!?)"),
}
_CLAUSE = vocabulary.words("but because so since when if although though while and or")
LONGEST = 4_000  # characters read; longer texts differ where nothing looks

Quantity = tuple[str, str]


class Facts(msgspec.Struct, frozen=True):
    """One question taken apart. Words are lower case; stems are words without inflection."""

    tokens: tuple[str, ...]
    content: frozenset[str]  # stems of the words that carry a topic
    quantities: tuple[Quantity, ...]  # (value, unit or ""), sorted
    measures: frozenset[str]  # units and currencies named without a number
    ids: frozenset[str]
    dates: frozenset[str]
    quotes: frozenset[str]
    code: frozenset[str]
    names: frozenset[str]  # of the lists, and words with a capital letter inside a sentence
    short: frozenset[str]  # those of the names that are abbreviations: ATM, PIN
    denied: frozenset[str]  # stems in the scope of a negation
    plain: frozenset[str]  # stems outside any
    negations: int
    asking: str  # the question word, or ""


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """A light stem: enough that `activated`, `activates` and `activating` are one. Wrong stems do no harm if equal."""
    if len(word) <= 3:
        return word
    for ending, least in (("ingly", 4), ("edly", 4), ("ings", 3), ("ing", 3), ("ied", 2), ("ies", 2), ("ed", 3)):
        if word.endswith(ending) and len(word) - len(ending) >= least:
            return _bare(word[: -len(ending)] + ("y" if ending in ("ied", "ies") else ""))
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return _bare(word[:-2])
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return _bare(word[:-1])
    return _bare(word)


def _bare(word: str) -> str:
    if len(word) > 3 and word[-1] == word[-2] and word[-1] in "bdgmnprt":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


@lru_cache(maxsize=65_536)
def facts(text: str) -> Facts:
    """`text` taken apart."""
    text = unicodedata.normalize("NFKC", text[:LONGEST]).replace("’", "'").replace("‘", "'")
    return _Reader(text).read()


class _Reader:
    """One pass over the pieces; later passes over the words."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words: list[str] = []
        self.capital: list[bool] = []  # of each word: a capital letter where a sentence does not begin
        self.found: dict[str, set[str]] = {kind: set() for kind in ("quote", "code", "date", "id")}
        self.names: set[str] = set()
        self.short: set[str] = set()
        self.quantities: list[Quantity] = []
        self.measures: set[str] = set()
        self.spent: set[int] = set()  # places of words that are part of a quantity or a date

    def read(self) -> Facts:
        for piece in _PIECES.finditer(self.text):
            self._take(piece)
        self._quantities()
        self._dates()
        self._names()
        denied, plain, negations = polarity(self.words)
        tokens = tuple(self.words)
        content = frozenset(stem(word) for word in tokens if word not in FUNCTION and word.isalpha())
        asking = next((word for word in tokens if word in QUESTION), "")
        if not asking and tokens and tokens[0] in ASKING:
            asking = "whether"
        return Facts(
            tokens=tokens,
            content=content,
            quantities=tuple(sorted(self.quantities)),
            measures=frozenset(self.measures),
            ids=frozenset(self.found["id"]),
            dates=frozenset(self.found["date"]),
            quotes=frozenset(self.found["quote"]),
            code=frozenset(self.found["code"]),
            names=frozenset(self.names),
            short=frozenset(self.short),
            denied=denied,
            plain=plain,
            negations=negations,
            asking=asking,
        )

    def _take(self, piece: re.Match[str]) -> None:
        kind, text = str(piece.lastgroup), piece.group()
        if kind == "word":
            self._word(text, capital=text[0].isupper() and not _begins(self.text, piece.start()))
            return
        if kind in self.found:
            self.found[kind].add(_FORMS.get(kind, str)(text))
            if kind == "quote":
                for word in re.findall(r"\w+", text.casefold()):
                    self._word(word, capital=False)
            return
        self.words.append(text.casefold())
        self.capital.append(False)

    def _word(self, text: str, *, capital: bool) -> None:
        low = text.casefold()
        whole = low.replace("'", "")
        if low.endswith("n't") or whole in _SHORTENED or whole in _CONTRACTED:
            parts = _CONTRACTED.get(whole, f"{whole.removesuffix('nt')} not").split()
        else:
            parts = [low.removesuffix("'s").replace("'", "")] if not low.startswith("i'") else ["i"]
        for part in parts:
            self.words.append(part)
            self.capital.append(capital and len(text) > 1 and low != "i")
        if len(text) <= 5 and text.isupper():
            self.short.add(low)

    def _quantities(self) -> None:
        """Numbers in figures and in words, each with the unit or currency beside it."""
        place = 0
        while place < len(self.words):
            value, after = _number(self.words, place)
            if value is None:
                place += 1
                continue
            unit = ""
            if place > 0 and (found := vocabulary.UNITS.get(self.words[place - 1])) in vocabulary.CURRENCIES:
                unit = str(found)
                self.spent.add(place - 1)
            if not unit and after < len(self.words):
                unit = vocabulary.UNITS.get(self.words[after], "")
                if unit:
                    self.spent.add(after)
            self.spent.update(range(place, after))
            self.quantities.append((value, unit))
            place = after
        for place, word in enumerate(self.words):
            unit = vocabulary.UNITS.get(word, "")
            if place not in self.spent and (unit in vocabulary.CURRENCIES or unit in vocabulary.MEASURES):
                self.measures.add(unit)

    def _dates(self) -> None:
        for place, word in enumerate(self.words):
            if name := vocabulary.MONTHS.get(word) or vocabulary.WEEKDAYS.get(word):
                self.found["date"].add(name)
            elif word in vocabulary.MOMENTS or (word == "may" and self.capital[place]):
                self.found["date"].add(word)

    def _names(self) -> None:
        shouting = sum(self.capital) > 0.5 * sum(word.isalpha() for word in self.words)
        for word, capital in zip(self.words, self.capital, strict=True):
            marked = capital and not shouting and word.isalpha() and word not in FUNCTION
            if marked or word in vocabulary.NAMES:
                self.names.add(word)
        self.names -= vocabulary.MONTHS.keys() | vocabulary.WEEKDAYS.keys()


def _begins(text: str, place: int) -> bool:
    """True if a sentence begins at `place`."""
    before = text[:place].rstrip(" \t\n\"'“(*-")
    return not before or before[-1] in ".!?:;\n"


def _number(words: list[str], place: int) -> tuple[str | None, int]:
    """The number that starts at `place` in a plain form, and the place behind it; None where none starts."""
    word = words[place]
    if _ORDINAL.fullmatch(word):
        return f"{_figure(word[:-2]):.12g}th", place + 1
    if word in vocabulary.ORDINALS:
        return f"{vocabulary.ORDINALS[word]}th", place + 1
    if _FIGURE.fullmatch(word):
        value = _figure(word)
    elif word in vocabulary.NUMBERS or word == "hundred":
        value = float(vocabulary.NUMBERS.get(word, 100))
    else:
        return None, place
    place += 1
    if value >= 20 and value % 10 == 0 and word.isalpha() and place < len(words):
        ones = vocabulary.NUMBERS.get(words[place], 0)
        if 0 < ones < 10:
            value, place = value + ones, place + 1
    while place < len(words) and words[place] in vocabulary.SCALES and not math.isinf(value):
        value, place = value * vocabulary.SCALES[words[place]], place + 1
    return f"{value:.12g}", place


def _figure(text: str) -> float:
    """`1,000` is a thousand, `1,5` and `1.5` are one and a half, `1.2.3` loses nothing that matters."""
    parts = re.split(r"[.,]", text)
    if len(parts) == 1:
        return float(text)
    marks = {mark for mark in text if mark in ".,"}
    grouped = all(len(part) == 3 for part in parts[1:]) and (marks == {","} or len(parts) > 2)
    if grouped:
        return float("".join(parts))
    return float("".join(parts[:-1]) + "." + parts[-1])


def polarity(words: list[str]) -> tuple[frozenset[str], frozenset[str], int]:
    """Stems that a negation denies, stems it does not, and how many negations there are.

    A negation denies the next topic word; behind a verb that says little (`want`, `have`) also the one after it.
    """
    denied: set[str] = set()
    plain: set[str] = set()
    negations = open_words = 0
    for place, word in enumerate(words):
        if _negates(words, place):
            # "why doesn't my card work": the verb comes behind the subject, so all the clause is denied.
            turned = place > 0 and words[place - 1] in ASKING and (place == 1 or words[place - 2] in QUESTION)
            negations, open_words = negations + 1, len(words) if turned else 1
            continue
        if word in _CLAUSE:
            open_words = 0
        said = word.isalpha() and (word not in FUNCTION or word in vocabulary.LIGHT)
        if not said or (word == "longer" and words[place - 1 : place] == ["no"]):
            continue
        (denied if open_words else plain).add(stem(word))
        if open_words and word not in vocabulary.LIGHT:
            open_words -= 1
    return frozenset(denied), frozenset(plain), negations


def _negates(words: list[str], place: int) -> bool:
    word, following = words[place], words[place + 1] if place + 1 < len(words) else ""
    if word in ("not", "no") and (following in ("only", "matter", "longer") or not following):
        return following == "longer"
    if word in vocabulary.FAILING:
        return following == "to"
    if word in vocabulary.CEASING:
        return following.endswith("ing")
    return word in vocabulary.NEGATORS or word in vocabulary.NOBODY


class Idf:
    """How rare words are, counted over the questions seen. Grows with each; a word never seen is the rarest."""

    def __init__(self, counts: Mapping[str, int] | None = None, texts: int = 0) -> None:
        self.counts: Counter[str] = Counter(counts or {})
        self.texts = texts

    def add(self, text: str) -> None:
        self.texts += 1
        self.counts.update(set(facts(text).tokens))

    def __getitem__(self, word: str) -> float:
        """log((texts + 1) / (texts with the word + 1/2))"""
        return math.log((self.texts + 1) / (self.counts.get(word, 0) + 0.5))


def differences(asked: str, held: str, idf: Idf) -> dict[str, float]:
    """What sets two questions apart, for the verifier; always the same names in the same order."""
    one, two = facts(asked), facts(held)
    ours, theirs = frozenset(one.tokens), frozenset(two.tokens)
    both, only_asked, only_held = ours & theirs, ours - theirs, theirs - ours
    weight = {word: idf[word] for word in ours | theirs}
    shared = sum(weight[word] for word in both)
    every = shared + sum(weight[word] for word in only_asked) + sum(weight[word] for word in only_held)
    return {
        "jaccard": len(both) / max(len(ours | theirs), 1),
        "overlap": shared / every if every > 0 else 1.0,
        "rarest_asked": max((weight[word] for word in only_asked), default=0.0),
        "rarest_held": max((weight[word] for word in only_held), default=0.0),
        "topic": _share(one.content, two.content),
        "number": float(one.quantities != two.quantities or one.ids != two.ids),
        "date": float(one.dates != two.dates),
        "name": float(one.names != two.names),
        "negation": float(one.negations % 2 != two.negations % 2),
        "denied": float(bool(one.denied & two.plain - two.denied or two.denied & one.plain - one.denied)),
        "antonym": float(opposite(one, two) is not None),
        "asking": float(one.asking != two.asking),
        "length": abs(len(one.tokens) - len(two.tokens)) / max(len(one.tokens), len(two.tokens), 1),
        "substituted": substitution(one.tokens, two.tokens, weight),
    }


def _share(ours: frozenset[str], theirs: frozenset[str]) -> float:
    return len(ours & theirs) / max(len(ours | theirs), 1)


def substitution(ours: tuple[str, ...], theirs: tuple[str, ...], weight: Mapping[str, float]) -> float:
    """Where the texts agree but for one stretch, the rarest word in it; 0 where they agree less, or in all."""
    shorter = min(len(ours), len(theirs))
    head = 0
    while head < shorter and ours[head] == theirs[head]:
        head += 1
    tail = 0
    while tail < shorter - head and ours[-1 - tail] == theirs[-1 - tail]:
        tail += 1
    left, right = ours[head : len(ours) - tail], theirs[head : len(theirs) - tail]
    if not (left or right) or head + tail < max(len(left), len(right)) or max(len(left), len(right)) > 3:
        return 0.0
    return max(weight[word] for word in left + right)


def opposite(one: Facts, two: Facts) -> tuple[str, str] | None:
    """A word of one side and its antonym on the other, both with the same polarity."""
    # A word that both sides have says nothing; neither does an antonym that both have.
    ours, theirs = _either(one) - _either(two), _either(two) - _either(one)
    for word in sorted(ours):
        for other in _opposites(word) & theirs:
            if (word in one.denied) == (other in two.denied):
                return word, other
        for other in theirs:
            if _prefixed(word, other) and (word in one.denied) == (other in two.denied):
                return word, other
    return _particles(one.tokens, two.tokens)


def _either(of: Facts) -> frozenset[str]:
    return of.denied | of.plain | frozenset(stem(word) for word in of.tokens if stem(word) in _table())


@lru_cache(maxsize=1)
def _table() -> dict[str, frozenset[str]]:
    pairs: dict[str, set[str]] = {}
    for one, two in vocabulary.ANTONYMS:
        pairs.setdefault(stem(one), set()).add(stem(two))
        pairs.setdefault(stem(two), set()).add(stem(one))
    return {word: frozenset(others) for word, others in pairs.items()}


def _opposites(word: str) -> frozenset[str]:
    return _table().get(word, frozenset())


def _prefixed(one: str, two: str) -> bool:
    short, long = sorted((one, two), key=len)
    return len(short) >= 4 and any(long == prefix + short for prefix in vocabulary.PREFIXES)


def _particles(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, str] | None:
    for one, two in ((ours, theirs), (theirs, ours)):
        if "off" in one and "on" not in one and "on" in two and "off" not in two:
            return "off", "on"
        if _behind(one, "out") and _behind(two, "in") and not _behind(one, "in"):
            return "out", "in"
    return None


def _behind(tokens: tuple[str, ...], particle: str) -> bool:
    return any(after == particle and verb in vocabulary.INWARD for verb, after in itertools.pairwise(tokens))
