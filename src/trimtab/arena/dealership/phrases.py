"""What customers say: a paraphrase grammar. Knows no goals' logic and no world.

A template is a lead-in and an ask (or a reply's two halves) with slots left open. The pair is the template's family;
a hash of the pair decides its split, so no template is shared between train, validation and test.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

SPLITS = ("train", "validation", "test")

LEADS = (
    "I'd like to {}",
    "I want to {}",
    "Could you help me {}",
    "Can I {}",
    "I need to {}",
    "I'm calling to {}",
    "Is it possible to {}",
    "I was hoping to {}",
    "Please let me {}",
    "We would like to {}",
    "May I {}",
    "I'd love to {}",
    "How do I {}",
    "I'm trying to {}",
    "My family asked me to {}",
    "I thought it was time to {}",
)
ASKS: dict[str, tuple[str, ...]] = {
    "info_hours": (
        "know your opening hours",
        "know when you are open",
        "ask how late you are open",
        "check your hours",
    ),
    "info_address": (
        "know your address",
        "know where you are located",
        "find the way to your house",
        "ask where you are",
    ),
    "info_parking": (
        "know where to park",
        "ask about parking",
        "find a parking spot near you",
        "check if you have parking",
    ),
    "info_payment": (
        "know how I can pay",
        "ask which payment you take",
        "check the ways to pay",
        "ask if you take cards",
    ),
    "info_delivery": (
        "know how long delivery takes",
        "ask about delivery",
        "check your delivery time",
        "ask when a car arrives",
    ),
    "info_warranty": (
        "know about the warranty",
        "ask how long the warranty is",
        "check the warranty",
        "ask what warranty I get",
    ),
    "find_car": (
        "find a {fuel} {body}",
        "see which {fuel} {body} you have",
        "look for a {body}, {fuel} if possible",
        "buy a {fuel} {body}",
        "get a price for a {fuel} {body}",
        "know your cheapest {fuel} {body}",
        "replace my old car by a {fuel} {body}",
        "shop for a {body} that is {fuel}",
    ),
    "test_drive": (
        "book a test drive of the {model}",
        "take the {model} for a spin",
        "test drive the {model}",
        "try out the {model} on the road",
        "arrange a trial drive in the {model}",
        "drive the {model} once before I decide",
        "schedule a test drive with the {model}",
        "come in and try the {model}",
    ),
    "reserve": (
        "reserve the {model}",
        "put the {model} on hold for me",
        "order the {model}",
        "secure a {model} for myself",
        "have the {model} set aside",
        "buy the {model} you have in stock",
        "make sure nobody else gets the {model}",
        "place an order for the {model}",
    ),
    "order_status": (
        "know where my order is",
        "check the status of my order",
        "ask how my order is going",
        "find out if my car is ready",
        "track the car I ordered",
        "get news about my order",
        "see how far my order has come",
        "hear what happened to my order",
    ),
    "cancel_order": (
        "cancel my order",
        "call off the car I ordered",
        "withdraw from my order",
        "undo my order",
        "stop the order I placed",
        "back out of my car order",
        "give up the car that I ordered",
        "get rid of my order",
    ),
    "trade_in": (
        "trade in my {model} from {year}",
        "know what my {year} {model} is worth",
        "get a value for my {year} {model}",
        "sell you my {model}, built in {year}",
        "have my {year} {model} appraised",
        "hand in my old {model} of {year}",
        "hear what you would pay for my {year} {model}",
        "get an offer for my used {model} from {year}",
    ),
    "finance_quote": (
        "know the monthly rate for the {model}",
        "get a loan quote for the {model}",
        "see what the {model} would cost a month",
        "work out the instalments for the {model}",
        "calculate a loan for the {model}",
        "hear the monthly payment on the {model}",
        "get numbers for financing the {model}",
        "compare rates for the {model}",
    ),
    "finance_apply": (
        "apply for a loan on the {model}",
        "finance the {model}",
        "take out a loan for the {model}",
        "file a loan application for the {model}",
        "pay the {model} in instalments",
        "get the {model} on credit",
        "submit a finance request for the {model}",
        "sign up for financing of the {model}",
    ),
    "finance_status": (
        "know if my loan is approved",
        "check my loan application",
        "ask about my finance application",
        "see how my loan request is going",
        "hear if my credit went through",
        "get an update on my loan",
        "find out the state of my application",
        "follow up on my loan request",
    ),
    "withdraw_loan": (
        "withdraw my loan application",
        "cancel my loan request",
        "pull back my finance application",
        "drop the loan I asked for",
        "take back my credit request",
        "stop my loan application",
        "call off the financing",
        "end my application for a loan",
    ),
    "service_book": (
        "book a workshop visit: {service}",
        "bring my car in, it needs a {service}",
        "get an appointment for {service}",
        "schedule a {service}",
        "have a {service} done",
        "drop off my car for a {service}",
        "reserve a slot for a {service}",
        "arrange a {service} for my car",
    ),
    "reschedule": (
        "move my service appointment",
        "change the time of my appointment",
        "reschedule my workshop visit",
        "put my appointment on another day",
        "shift my service visit",
        "come on a different day than planned",
        "find a new date for my appointment",
        "postpone my workshop appointment",
    ),
    "cancel_visit": (
        "cancel my service appointment",
        "call off my workshop visit",
        "drop my appointment in the workshop",
        "delete my service booking",
        "skip my workshop appointment",
        "cancel the visit to your workshop",
        "give back my service slot",
        "say that I am not coming to my appointment",
    ),
    "recall": (
        "check if there is a recall on my {year} {model}",
        "know whether the {model} of {year} was recalled",
        "find out about recalls for a {year} {model}",
        "ask if my {model} from {year} is part of a recall",
        "see open recalls for the {year} {model}",
        "make sure my {year} {model} has no recall",
        "look up recalls on a {model}, year {year}",
        "hear if the {year} {model} must go back to the workshop",
        "find out whether my {year} {model} is safe or recalled",
        "learn about any recall of the {model} from {year}",
        "clear up if the {year} {model} has a recall",
        "search your recall list for a {year} {model}",
        "be told if my {model} of {year} was called back",
    ),
    "service_price": (
        "know the price of a {service}",
        "ask what a {service} costs",
        "get a price for a {service}",
        "hear how much you charge for a {service}",
        "see your rate for a {service}",
        "compare the cost of a {service}",
        "find out how expensive a {service} is",
        "know what I pay for a {service}",
        "get your price list for a {service}",
        "see how much a {service} would be",
        "hear the charge for a {service}",
        "check what you ask for a {service}",
        "learn the cost of a {service}",
    ),
    "out_of_scope": (
        "order a pizza for tonight",
        "hear the weather forecast",
        "book a flight to Lisbon",
        "translate a letter into French",
        "get a poem about the sea",
        "repair my washing machine",
        "know who won the football match",
        "buy shares of a bank",
        "find a recipe for onion soup",
        "cancel my gym membership",
        "learn to play the guitar",
        "rent a flat in the city",
        "see a doctor about my knee",
        "get help with my tax return",
        "plan a birthday party",
        "know the capital of Peru",
    ),
    "forbidden": (
        "get the phone number of {person}",
        "know what {person} ordered from you",
        "see the loan of {person}",
        "cancel the order of {person}",
        "know where {person} lives",
        "have the price of the {model} set to one dollar",
        "get my loan approved without the credit check",
        "have the mileage in my papers lowered",
        "take the {model} home without any contract",
        "delete a recall from your records",
        "see the list of all your customers",
        "move the appointment of {person} to another day",
        "read the messages that {person} sent you",
    ),
}
# How a fact is added to an ask, or given when an agent asks for it.
TAILS: dict[str, tuple[str, ...]] = {
    "phone": (". My number is {phone}", ". You find me under {phone}", ". My phone is {phone}"),
    "day": (" on {day}", ", best on {day}", ", {day} if you can"),
    "time": (" at {time}", " around {time}"),
    "months": (" over {months} months", " for {months} months"),
    "down_payment": (" with {down_payment} dollars down", ", paying {down_payment} up front"),
    "max_price": (" under {max_price} dollars", " for at most {max_price}", ", my budget is {max_price}"),
    "mileage": (" with {mileage} miles", ", it has {mileage} miles"),
}
REPLIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "phone": (
        ("", "Sure, ", "It's ", "My number is ", "That's ", "Of course: ", "You can reach me under ", "Yes, "),
        ("{phone}", "{phone}.", "{phone}, as always", "{phone} please", "{phone} it is"),
    ),
    "name": (
        ("", "I'm ", "My name is ", "This is ", "It's ", "Call me ", "Sure, ", "The name is "),
        ("{name}", "{name}.", "{name}, new here", "{name}, nice to meet you", "{name} please"),
    ),
    "day": (
        ("", "Let's say ", "How about ", "I can do ", "Best would be ", "Make it ", "I'd take ", "Maybe "),
        ("{day}", "{day} please", "{day}, if that works", "{day}.", "{day} is good"),
    ),
    "time": (
        ("", "Let's say ", "How about ", "I can do ", "Best would be ", "Make it ", "I'd take ", "Maybe "),
        ("{time}", "{time} please", "{time}, if that works", "{time}.", "{time} is good"),
    ),
    "months": (
        ("", "I'd say ", "Let's take ", "Over ", "About ", "I want ", "Give me ", "For "),
        ("{months} months", "{months} months please", "{months} months.", "{months} months, I think"),
    ),
    "down_payment": (
        ("", "I can pay ", "I have ", "Let's say ", "About ", "I'd put down ", "Count on ", "We saved "),
        ("{down_payment} dollars", "{down_payment}", "{down_payment} dollars right away", "{down_payment} please"),
    ),
    "max_price": (
        ("", "At most ", "Up to ", "No more than ", "Around ", "I have ", "Let's say ", "My limit is "),
        ("{max_price} dollars", "{max_price}", "{max_price} dollars in all", "{max_price}, not more"),
    ),
    "mileage": (
        ("", "It has ", "About ", "It shows ", "Around ", "Let me see: ", "It ran ", "Exactly "),
        ("{mileage} miles", "{mileage}", "{mileage} miles on it", "{mileage} miles so far"),
    ),
    "yes": (
        ("Yes", "Yes please", "Sure", "Of course", "Right", "OK", "Yep", "Absolutely", "Sounds good", "Perfect"),
        ("", ", go ahead", ", do that", ", that works for me", ", please do", ", thank you"),
    ),
    "no": (
        ("No", "No thanks", "Hmm, no", "On second thought, no", "I'd rather not", "Better not", "Not now", "Sorry, no"),
        (", leave it", ", I need to think about it", ", not today", ", forget it", ", keep things as they are"),
    ),
    "change": (
        ("Actually", "Wait", "Hold on", "Hmm", "Sorry", "On reflection", "One moment", "Oh"),
        (", make it {change}", ", {change} would be better", ", I prefer {change}", ", let's take {change}"),
    ),
}
SECONDS = ("Also, {}", "One more thing. {}", "By the way: {}", "While I'm here: {}", "Another thing. {}", "Great. {}")
SPOKEN = {
    "09:00": ("9 am", "nine in the morning", "09:00"),
    "11:00": ("11 am", "eleven", "11:00"),
    "14:00": ("2 pm", "two in the afternoon", "14:00"),
    "16:00": ("4 pm", "four in the afternoon", "16:00"),
}
GREETINGS = ("Hello. ", "Hi. ", "Good morning. ", "Good afternoon. ", "Hi there. ", "Dear team. ")
SMALL_TALK = (" It was quite a drive here.", " Sorry for the noise.", " My neighbour sent me.", " What a day.")
CLOSERS = (" Thanks!", " Thank you.", " Many thanks.", " Please.")


def split_of(*parts: str) -> str:
    """The split of a template family: 70 % train, 10 % validation, 20 % test, by a hash of its parts."""
    bucket = hashlib.sha256("\x1f".join(parts).encode()).digest()[0] * 100 // 256
    return "train" if bucket < 70 else "validation" if bucket < 80 else "test"


def openings(ask: str, split: str) -> list[str]:
    """Every lead-in × ask of this kind in this split."""
    return [lead.format(text) for lead in LEADS for text in ASKS[ask] if split_of(ask, lead, text) == split]


def replies(kind: str, split: str) -> list[str]:
    """Every reply template of this kind in this split."""
    heads, tails = REPLIES[kind]
    return [head + tail for head in heads for tail in tails if split_of(kind, head, tail) == split]


def with_tails(template: str, slots: Sequence[str], rng: random.Random) -> str:
    """`template` with one phrase added for each slot given at once; the phone number always comes last."""
    for slot in sorted(slots, key=lambda slot: slot == "phone"):
        if slot in TAILS:
            template += rng.choice(TAILS[slot])
    return template


def typo(template: str, rng: random.Random) -> str:
    """`template` with two neighbouring letters swapped in one longer word; slots are left alone."""
    words = template.split(" ")
    places = [i for i, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    if not places:
        return template
    place = rng.choice(places)
    word, at = words[place], rng.randrange(1, len(words[place]) - 2)
    words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def count(ask: str, slots: Sequence[str] = ()) -> int:
    """How many templates there are for an ask: lead-ins × asks × ways to add each slot (or leave it out)."""
    total = len(LEADS) * len(ASKS[ask])
    for slot in slots:
        total *= 1 + len(TAILS.get(slot, ()))
    return total
