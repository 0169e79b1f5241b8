"""Which images belong together: pieces of one photograph, frames of one film, photographs of one part."""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from sagan_jax.errors import UserError, few, printable

_BEFORE_LAST = r"[^/]+(?=[_-][^/]*$)"
"""A file's name before its last underscore or hyphen."""


class Groups(NamedTuple):
    """Images in groups, told by their names.

    Attributes:
        pattern: The regular expression that told them.
        numbers: The group of each image: 0, 1, ... in the order of their names.
    """

    pattern: str
    numbers: Int[np.ndarray, " n"]

    @property
    def group_count(self) -> int:
        """How many groups there are."""
        return len(np.unique(self.numbers))

    def of(self, indices: Int[np.ndarray, " kept"]) -> "Groups":
        """Some of the images, in groups as they were, numbered anew."""
        return self._replace(numbers=np.unique(self.numbers[indices], return_inverse=True)[1])


def groups_by(pattern: str, ids: Shaped[np.ndarray, " n"]) -> Groups:
    r"""Puts images into groups by their names.

    Args:
        pattern: A regular expression of Python. What it finds in an id, or if it has brackets the first that took part,
            names the group: ``\d+`` puts ``good/001_left.jpg`` and ``good/001_right.jpg`` into one.
        ids: The images' paths in their folder.

    Returns:
        The groups, of which there are at least two.

    Raises:
        UserError: If the pattern does not match every id, finds nothing in one, or gives one group alone.
    """
    expression = re.compile(pattern)
    matches = [expression.search(name) for name in ids]
    if without := [printable(name) for name, match in zip(ids, matches, strict=True) if match is None]:
        raise UserError(f"--group={pattern} does not match {len(without)} of {len(ids)} images: {few(without)}")
    found = [_name(match) for match in matches if match]
    if unnamed := [printable(name) for name, group in zip(ids, found, strict=True) if not group]:
        raise UserError(
            f"--group={pattern} matches, but finds nothing that names a group, in {len(unnamed)} of {len(ids)} images: "
            f"{few(unnamed)}"
        )
    names, numbers = np.unique(found, return_inverse=True)
    if len(names) < 2:
        raise UserError(f"--group={pattern} puts all {len(ids)} images into one group; holding out takes two at least")
    return Groups(pattern, numbers)


def _name(match: re.Match[str]) -> str:
    """What names the group: the first bracket that took part, or all that was found; empty if there is none."""
    brackets = match.groups() or (match.group(),)
    return next((bracket for bracket in brackets if bracket is not None), "")


def likely_groups(ids: Shaped[np.ndarray, " n"]) -> Groups | None:
    """The groups that names suggest: alike before the last underscore or hyphen, as pieces of a photograph are named.

    Args:
        ids: The images' paths in their folder.

    Returns:
        The groups, if all names have one, and there are two or more, of two images or more in the mean; else None.
    """
    try:
        groups = groups_by(_BEFORE_LAST, ids)
    except UserError:
        return None
    return groups if 2 * groups.group_count <= len(ids) else None
