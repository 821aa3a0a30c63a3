"""Paths of objects, instances, resources and resource instances (OMA Core 1.1.1 §6.2, §7.1).

A path is a tuple of at most four ids, so it hashes, compares and sorts as one, and a path contains
another exactly when it is its beginning. ``Path()`` is the root, written ``/``.
"""

from __future__ import annotations

from functools import lru_cache

MAX_ID = 65535  # C §6.2: 16-bit ids; 65535 is reserved and legal only where the specification names it
MAX_LEVEL = 4

_LONGEST = len("/65535") * MAX_LEVEL + 1  # with a trailing slash
_new = tuple.__new__


class PathError(ValueError):
    """A text or a row of numbers that is no LwM2M path; the message is a sentence for people."""


class Path(tuple[int, ...]):
    """``Path(3, 0, 9)`` is ``/3/0/9``: object, instance, resource, resource instance; each id 0..65535."""

    __slots__ = ()

    def __new__(
        cls,
        object_id: int | None = None,
        instance_id: int | None = None,
        resource_id: int | None = None,
        resource_instance_id: int | None = None,
    ) -> Path:
        """Raises ``PathError`` for an id outside 0..65535 or below a level that is missing."""
        if object_id is None:
            ids: tuple[int | None, ...] = ()
            rest: tuple[int | None, ...] = (instance_id, resource_id, resource_instance_id)
        elif instance_id is None:
            ids, rest = (object_id,), (resource_id, resource_instance_id)
        elif resource_id is None:
            ids, rest = (object_id, instance_id), (resource_instance_id,)
        elif resource_instance_id is None:
            ids, rest = (object_id, instance_id, resource_id), ()
        else:
            ids, rest = (object_id, instance_id, resource_id, resource_instance_id), ()
        for one in rest:
            if one is not None:
                raise PathError("a level of the path is missing")
        for one in ids:
            if type(one) is not int or not 0 <= one <= MAX_ID:
                raise PathError(f"an id is a whole number from 0 to {MAX_ID}")
        return _new(cls, ids)  # every id was checked

    def __getnewargs__(self) -> tuple[int, ...]:  # copy and pickle call Path(*ids)
        return tuple(self)

    @staticmethod
    def parse(text: str) -> Path:
        """``"/3/0/9"`` as a path; a missing first slash and one trailing slash are let pass.

        Raises ``PathError`` for anything else, in constant time.
        """
        return _parse(text)

    @property
    def object_id(self) -> int | None:
        """The object, None at the root."""
        return self[0] if self else None

    @property
    def instance_id(self) -> int | None:
        """The object instance, None above that level."""
        return self[1] if len(self) > 1 else None

    @property
    def resource_id(self) -> int | None:
        """The resource, None above that level."""
        return self[2] if len(self) > 2 else None

    @property
    def resource_instance_id(self) -> int | None:
        """The resource instance, None above that level."""
        return self[3] if len(self) > 3 else None

    @property
    def level(self) -> int:
        """0 root, 1 object, 2 instance, 3 resource, 4 resource instance."""
        return len(self)

    @property
    def parent(self) -> Path | None:
        """The path one level up; None above the root."""
        return _new(Path, self[:-1]) if self else None

    def child(self, child_id: int) -> Path:
        """The path one level down; raises ``PathError`` below level 4 or for an id outside 0..65535."""
        if len(self) == MAX_LEVEL:
            raise PathError("there is nothing below a resource instance")
        if type(child_id) is not int or not 0 <= child_id <= MAX_ID:
            raise PathError(f"an id is a whole number from 0 to {MAX_ID}")
        return _new(Path, (*self, child_id))

    def contains(self, other: Path) -> bool:
        """Whether ``other`` is this path or lies below it."""
        return other[: len(self)] == self

    def __str__(self) -> str:
        return _text(self)

    def __repr__(self) -> str:
        return f"Path.parse({_text(self)!r})"


@lru_cache(maxsize=8192)
def _parse(text: str) -> Path:
    if len(text) > _LONGEST:
        raise PathError("a path is no longer than /65535/65535/65535/65535")
    bare = text[1:] if text[:1] == "/" else text
    if bare[-1:] == "/":
        bare = bare[:-1]
    if not bare:
        if text in ("", "/"):
            return Path()
        raise PathError("an id is missing between two slashes")
    parts = bare.split("/")
    if len(parts) > MAX_LEVEL:
        raise PathError("a path has at most four ids: object, instance, resource, resource instance")
    ids = []
    for part in parts:
        if not part:
            raise PathError("an id is missing between two slashes")
        if not (part.isascii() and part.isdigit()):
            raise PathError(f"{part!r} is not a number")
        if part[0] == "0" and part != "0":
            raise PathError(f"{part!r} is written without leading zeros")
        one = int(part)
        if one > MAX_ID:
            raise PathError(f"{part} is more than {MAX_ID}, the largest id")
        ids.append(one)
    return _new(Path, ids)


@lru_cache(maxsize=8192)
def _text(path: Path) -> str:
    return "/" + "/".join(map(str, path))
