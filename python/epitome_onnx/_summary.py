"""Results: summaries and sequences."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sequence:
    """One generated sequence."""

    text: str
    """Text without special tokens."""
    token_ids: list[int]
    """Token ids as transformers' `generate` returns them: decoder start first, end token last."""
    score: float | None
    """transformers' `sequences_scores`; `None` for greedy search and sampling."""
    token_scores: list[float] | None
    """Log-probability of each generated token, with `output_scores=True`."""


@dataclass(frozen=True)
class Read:
    """The read part of a document."""

    words: int
    """Number of words of the document."""
    words_read: int
    """Number of words that the model read."""
    parts: int
    """Number of parts."""


@dataclass(frozen=True)
class Summary:
    """The summary of one text. `str(summary)` is its text."""

    sequences: list[Sequence]
    """The `num_return_sequences` summaries, best first."""
    input_tokens: int
    """Number of tokens of the text that were read, including the end token."""
    truncated: bool
    """Whether the text was longer than the model's window, and truncated."""
    steps: int
    """Number of decoder steps."""
    stopped: str
    """Reason of the end of the generation: `finished`, `max_length` or `max_time`."""
    read: Read | None = None
    """The read part, for the summary of a document."""

    @property
    def text(self) -> str:
        """The best summary."""
        return self.sequences[0].text

    @property
    def token_ids(self) -> list[int]:
        """Token ids of the best summary."""
        return self.sequences[0].token_ids

    @property
    def score(self) -> float | None:
        """Score of the best summary."""
        return self.sequences[0].score

    def __str__(self) -> str:
        return self.text
