"""The audit's page: whole, escaped, and held against a real browser."""

import asyncio
import re

import pytest

from tests.ui.audit import browser, surveys
from trimtab.plan.audit import measure
from trimtab.plan.survey import Survey
from trimtab.ui.audit import page

pytest.importorskip("vl_convert", reason="the extra `audit` is not installed")
pytest.importorskip("jinja2", reason="the extra `audit` is not installed")


@pytest.fixture(scope="module")
def full():
    return page.document(surveys.full())


def test_says_what_was_found(full):
    assert "First estimates see <em>44%</em> of it saved" in full
    for section in ("bill", "spread", "flow", "waste", "levers", "together", "calls", "method"):
        assert f'<section id="{section}"' in full
        assert f'href="#{section}"' in full
    for words in ("a small encoder agrees on 93 %", "find_customer", "a timestamp at the head", "line 12: not JSON"):
        assert words in full


def test_what_calls_said_cannot_become_html(full):
    assert surveys.HOSTILE not in full
    assert "<script" not in full
    assert "<img" not in full
    assert "&lt;script&gt;" in full


def test_asks_nothing_of_a_network(full):
    addresses = set(re.findall(r'\b(?:href|src|action)="([^"]+)"|\burl\(([^)]+)\)|@import ("[^"]+")', full))
    addresses = {"".join(found) for found in addresses}
    assert "#bill" in addresses
    assert {address for address in addresses if not address.startswith(("#", "data:,"))} == set()
    assert "default-src 'none'" in full


def test_every_picture_has_a_name_and_no_id_twice(full):
    pictures = re.findall(r"<svg [^>]*>", full)
    assert len(pictures) >= 14
    assert all('role="img"' in one and re.search(r'aria-label="[^"]+"', one) for one in pictures)
    ids = re.findall(r'\bid="([^"]+)"', full)
    assert len(ids) == len(set(ids))


def test_pictures_take_their_colours_from_the_page(full):
    drawn = "".join(re.findall(r"<svg .*?</svg>", full, re.DOTALL))
    assert set(re.findall(r'(?:fill|stroke)="(#[0-9a-fA-F]{3,6})"', drawn)) <= {"#888"}
    assert "var(--one)" in drawn


def test_nothing_read_makes_a_page_too():
    made = page.document(surveys.bare())
    assert "No call could be read" in made
    assert '<section id="method"' in made


def test_a_survey_without_levers_makes_no_promise():
    made = page.document(Survey(reading=(), audit=measure([])))
    assert "First estimates" not in made


def test_in_a_browser(full, tmp_path):
    """No console error, no request, no sideways scroll at 400 px, reachable by keys, in light and dark."""
    browser.found()
    file = tmp_path / "report.html"
    file.write_text(full, encoding="utf-8")
    asyncio.run(_looked_at(file.as_uri(), tmp_path / "profile"))


async def _looked_at(url, profile):
    async with browser.tab(profile) as tab:
        papers = {}
        for width, scheme in ((1600, "light"), (400, "dark"), (400, "light")):
            await tab.open(url, width, scheme)
            assert await tab.value("document.documentElement.scrollWidth") <= width, f"scrolls sideways at {width} px"
            papers[scheme] = await tab.value("getComputedStyle(document.body).backgroundColor")
            smallest = await tab.value(_SMALLEST)
            assert smallest >= 10, f"letters of {smallest} px at {width} px"
        assert papers["light"] != papers["dark"]
        await _walked(tab)
        assert tab.said == []
        assert {one for one in tab.asked if not one.startswith(("file:", "data:"))} == set()


# The smallest letters in a picture that is shown, in pixels of the screen.
_SMALLEST = """Math.min(...[...document.querySelectorAll("svg text")].filter(one => one.checkVisibility()).map(one =>
  parseFloat(getComputedStyle(one).fontSize) * one.ownerSVGElement.getScreenCTM().a))"""


async def _walked(tab):
    """Tab reaches the skip link, the contents and every fold, and Enter opens one."""
    reached = []
    for _ in range(await tab.value("document.querySelectorAll('a, summary, [tabindex]').length")):
        await tab.press("Tab", 9)
        name = await tab.value("document.activeElement.tagName")
        if name == "SUMMARY" and "SUMMARY" not in reached:
            await tab.press("Enter", 13)
            assert await tab.value("document.activeElement.parentElement.open") is True
        reached.append(name)
    assert reached[0] == "A"
    assert reached.count("SUMMARY") == await tab.value("document.querySelectorAll('summary').length")
