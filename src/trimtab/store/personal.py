"""Structured personal data in a text: addresses of e-mail, numbers of telephones, payment cards, accounts.

Only what its own form gives away: names and postal addresses look like any other words. Every pattern runs in linear
time: its repetitions are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+%-]{1,64}+@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}(?![A-Za-z0-9-])")
# 13 to 19 digits, perhaps in groups; the great networks' numbers begin with 3 to 6.
_CARD = re.compile(r"(?<![\w.+-])[3-6](?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_SOCIAL_SECURITY = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
# International with a plus; North American with its brackets or dashes.
_PHONE = re.compile(
    r"(?<![\w+])\+\d(?:[ ().-]{0,2}\d){7,14}(?!\w)"
    r"|(?<![\w(-])(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4}(?![\w-])"
)


def without(text: str) -> str:
    """`text` with each such datum replaced by `[redacted:kind]`; the same text where there is none."""
    if "@" in text:
        text = _EMAIL.sub("[redacted:email]", text)
    if not any(map(text.__contains__, "0123456789")):
        return text
    text = _IBAN.sub(_checked("iban", _is_iban), text)
    text = _CARD.sub(_checked("card", _is_card), text)
    text = _SOCIAL_SECURITY.sub("[redacted:social-security]", text)
    return _PHONE.sub("[redacted:phone]", text)


def found(text: str) -> list[tuple[str, str]]:
    """(kind, datum) of each such datum."""
    held = [("email", match.group()) for match in _EMAIL.finditer(text)] if "@" in text else []
    held += [("iban", match.group()) for match in _IBAN.finditer(text) if _is_iban(match.group())]
    held += [("card", match.group()) for match in _CARD.finditer(text) if _is_card(match.group())]
    held += [("social-security", match.group()) for match in _SOCIAL_SECURITY.finditer(text)]
    return held + [("phone", match.group()) for match in _PHONE.finditer(text)]


def _checked(kind: str, holds: Callable[[str], bool]) -> Callable[[re.Match[str]], str]:
    """A replacement for what passes its own check digits; any other number stays."""
    return lambda match: f"[redacted:{kind}]" if holds(match.group()) else match.group()


def _is_card(number: str) -> bool:
    """Luhn's check: every second digit from the right doubled, the sum of all digits a multiple of ten."""
    digits = [int(char) for char in reversed(number) if char.isdigit()]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


def _is_iban(text: str) -> bool:
    """ISO 7064: with the first four characters last and letters as 10 to 35, the number is 1 modulo 97."""
    plain = text.replace(" ", "")
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1
