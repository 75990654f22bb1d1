"""The four agents: what each is told, which tools it has, and what travels with a hand-off. Knows no model server."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.arena.dealership.tools import TOOLS

HOUSE = "You work at Harbor Road Motors, a car dealership. Be brief. Ask for what is missing, one thing at a time. "
CONFIRM = "Before you change anything, ask the customer to confirm."


class Agent(msgspec.Struct, frozen=True):
    """One agent: its system prompt and the names of its tools."""

    name: str
    system: str
    tools: tuple[str, ...]

    def schemas(self) -> list[dict[str, Any]]:
        """The OpenAI schemas of its tools, in a fixed order so that the prompt's prefix never changes."""
        return [TOOLS[name].schema() for name in self.tools]


AGENTS: dict[str, Agent] = {
    agent.name: agent
    for agent in (
        Agent(
            name="triage",
            system=HOUSE + "You are triage: answer questions about the house, find or register the customer by phone "
            "where the request concerns their own account, then hand over to sales, finance or service. "
            "Decline what has nothing to do with the dealership. "
            "Never disclose other customers' data, change prices or skip checks.",
            tools=(
                "store_info",
                "find_customer",
                "register_customer",
                "transfer_to_sales",
                "transfer_to_finance",
                "transfer_to_service",
            ),
        ),
        Agent(
            name="sales",
            system=HOUSE + "You are sales: cars, test drives, reservations, orders and trade-ins. " + CONFIRM,
            tools=(
                "search_vehicles",
                "test_drive_slots",
                "book_test_drive",
                "reserve_vehicle",
                "get_orders",
                "cancel_order",
                "appraise_trade_in",
                "transfer_to_finance",
                "transfer_to_service",
            ),
        ),
        Agent(
            name="finance",
            system=HOUSE + "You are finance: loan quotes and applications. " + CONFIRM,
            tools=(
                "search_vehicles",
                "quote_finance",
                "apply_finance",
                "get_applications",
                "withdraw_application",
            ),
        ),
        Agent(
            name="service",
            system=HOUSE + "You are service: repairs, prices, recalls and workshop appointments. " + CONFIRM,
            tools=(
                "service_price",
                "check_bays",
                "book_service",
                "get_appointments",
                "reschedule_appointment",
                "cancel_appointment",
                "check_recall",
                "transfer_to_sales",
            ),
        ),
    )
}
TRANSFERS = {f"transfer_to_{name}": name for name in AGENTS}


def opening(agent: str, heard: list[str], note: str = "") -> list[dict[str, Any]]:
    """The messages an agent starts from: its system prompt, and what the customer said as it was handed on."""
    said = "\n".join([note, *heard]) if note else "\n".join(heard)
    return [{"role": "system", "content": AGENTS[agent].system}, {"role": "user", "content": said}]


def handed_on(sender: str, messages: list[dict[str, Any]], arguments: dict[str, Any]) -> tuple[str, list[str]]:
    """(note, what the customer said) that travel with a hand-off.

    Triage hands on all it heard; another agent only the customer's last message, since it has dealt with the rest.
    """
    known = " ".join(str(value) for value in arguments.values() if value)
    note = f"[from {sender}] {known}".strip()
    heard = [str(message["content"]) for message in messages if message["role"] == "user"]
    return note, heard if sender == "triage" else heard[-1:]
