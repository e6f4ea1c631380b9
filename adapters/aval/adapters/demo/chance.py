"""Chance that a seed decides: the same everywhere and always.

Each question has its own `Dice`, named by a label such as the unit and the date, so that what happens in one unit on
one day does not depend on what was drawn elsewhere. Draws are SHA-256 of the label and a counter: Python's own
generator may change its distributions between versions, and a demonstration told with a seed should stay true.
"""

import hashlib
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeVar

_T = TypeVar("_T")

_SCALE = 1 << 53
_NORMAL = NormalDist()


class Dice:
    """A sequence of draws, decided by its label."""

    def __init__(self, *label: object) -> None:
        self._seed = hashlib.sha256("\x1f".join(str(part) for part in label).encode())
        self._drawn = 0

    def share(self) -> float:
        """A number of [0, 1)."""
        digest = self._seed.copy()
        digest.update(self._drawn.to_bytes(8))
        self._drawn += 1
        return (int.from_bytes(digest.digest()[:8]) >> 11) / _SCALE

    def chance(self, share: float) -> bool:
        """True that share of the time."""
        return self.share() < share

    def between(self, low: float, high: float) -> float:
        """A number of [low, high)."""
        return low + (high - low) * self.share()

    def one_of(self, choices: Sequence[_T]) -> _T:
        """One of a non-empty sequence, each as likely."""
        return choices[int(self.share() * len(choices))]

    def weighted(self, weights: Sequence[int]) -> int:
        """An index, as likely as its weight; the weights are not all zero."""
        left = self.share() * sum(weights)
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        return max(index for index, weight in enumerate(weights) if weight)

    def count(self, mean: float) -> int:
        """How many, if they come by themselves at that mean, of at most some hundreds (Poisson, by inversion)."""
        left, number, weight = self.share(), 0, math.exp(-mean)
        while left >= weight and number < 10 * mean + 20:
            left -= weight
            number += 1
            weight *= mean / number
        return number

    def log_normal(self, mean: float, spread: float, *, by_length: bool = False) -> float:
        """A length with that mean, `spread` the sigma of its logarithm. With `by_length`, of one that is met under way:
        long ones are met more often, in proportion to their length."""
        normal = _NORMAL.inv_cdf(min(max(self.share(), 1e-12), 1 - 1e-12))
        shift = spread**2 / 2 if by_length else -(spread**2) / 2
        return mean * math.exp(shift + spread * normal)
