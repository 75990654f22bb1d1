"""Fields: the members of a JSON object, taken one by one, so that what nobody took is refused by its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from trimtab.errors import RequestRefused

_KINDS = {str: "a string", dict: "an object", list: "a list", bool: "true or false", int: "a whole number"}


class Fields:
    """`value`, found at `where`, on its way into the dialect `into`. A member that is null counts as absent."""

    def __init__(self, value: Any, where: str, into: str) -> None:
        self.where = where
        self.into = into
        if not isinstance(value, dict):
            raise RequestRefused(f"{where or 'the request'} is no object: send one", param=where or None)
        self.left: dict[str, Any] = {name: held for name, held in value.items() if held is not None}

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def take(self, name: str, *kinds: type) -> Any:
        """The member `name` and no longer left; None where it is absent, refused where it is none of `kinds`."""
        held = self.left.pop(name, None)
        if held is not None and kinds and not (isinstance(held, kinds) and (bool in kinds or type(held) is not bool)):
            wanted = " or ".join(_KINDS.get(kind, kind.__name__) for kind in kinds)
            raise RequestRefused(f"{self.path(name)} is not {wanted}", param=self.path(name))
        return held

    def need(self, name: str, *kinds: type) -> Any:
        """As `take`, but refused where it is absent."""
        held = self.take(name, *kinds)
        if held is None:
            raise RequestRefused(f"{self.path(name)} is missing", param=self.path(name))
        return held

    def within(self, name: str) -> Fields | None:
        """The object `name`, its members to be taken in turn; None where it is absent."""
        held = self.take(name, dict)
        return None if held is None else Fields(held, self.path(name), self.into)

    def each(self, name: str) -> Iterator[Fields]:
        """The objects of the list `name`."""
        for place, held in enumerate(self.take(name, list) or ()):
            yield Fields(held, f"{self.path(name)}[{place}]", self.into)

    def harmless(self, **values: Any) -> None:
        """Take the members that say, with one of these values, only what is so without them; refuse any other value."""
        for name, allowed in values.items():
            held = self.left.pop(name, None)
            if held is not None and held not in allowed:
                self.refuse(name, held)

    def refuse(self, name: str, held: Any = None) -> NoReturn:
        """What `name` says cannot be said in the other dialect."""
        shown = f" ({held!r:.40})" if isinstance(held, str | int | float) else ""
        message = (
            f"{self.path(name)}{shown} cannot be put into {self.into}: leave it out, or ask a server that knows it"
        )
        raise RequestRefused(message, param=self.path(name), code="not_translatable")

    def done(self) -> None:
        """Nothing may be left."""
        for name in self.left:
            self.refuse(name)
