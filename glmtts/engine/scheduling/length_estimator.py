"""How many speech tokens a text will become, learnt from the segments spoken so far."""

from __future__ import annotations


class LengthEstimator:
    """A running mean of speech tokens per text id, which begins at `tokens_per_id`."""

    MIN_WEIGHT = 0.02
    """Weight of a new observation once there have been many."""

    def __init__(self, tokens_per_id: float) -> None:
        self._ratio = tokens_per_id
        self._observations = 0

    def update(self, num_ids: int, num_tokens: int) -> None:
        """Adds a segment of `num_ids` text ids that became `num_tokens` speech tokens."""
        self._observations += 1
        self._ratio += max(self.MIN_WEIGHT, 1 / self._observations) * (num_tokens / num_ids - self._ratio)

    def expected_tokens(self, num_ids: int) -> int:
        """Speech tokens that a text of `num_ids` ids is expected to become; at least one."""
        return max(1, round(num_ids * self._ratio))
