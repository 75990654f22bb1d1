"""The words that `trimtab engine serve` takes for a model that a lever made, where its endpoint is on this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from trimtab.deployment import Deployment

_HERE = ("127.0.0.1", "localhost", "::1")


def words(applied: Deployment, folders: dict[str, str], *more: str) -> tuple[str, ...]:
    """`folders` by the name that an endpoint of `applied` asks for; nothing where none does. With the endpoint's port
    if it is on this machine."""
    asked = [each for each in applied.endpoints if each.model in folders]
    if not asked:
        return ()
    names = dict.fromkeys(each.model for each in asked)
    place = urlsplit(asked[0].url)
    port = ("--port", str(place.port)) if place.hostname in _HERE and place.port else ()
    return (*(f"{name}={folders[name]}" for name in names), *more, *port)
