"""What comes out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sequence:
    """One generated sequence."""

    text: str
    """The text, special tokens left out."""
    token_ids: list[int]
    """Token ids as transformers' `generate` returns them: decoder start first, end token last."""
    score: float | None
    """transformers' `sequences_scores`; `None` for greedy search and sampling."""
    token_scores: list[float] | None
    """Log-probability of each generated token, with `output_scores=True`."""


@dataclass(frozen=True)
class Read:
    """What was read of a document."""

    words: int
    """Words of the document."""
    words_read: int
    """Words that the model read."""
    parts: int
    """In how many parts."""


@dataclass(frozen=True)
class Summary:
    """What was made of one text. `str(summary)` is its text."""

    sequences: list[Sequence]
    """The `num_return_sequences` summaries, best first."""
    input_tokens: int
    """Tokens of the text that were read, the end token included."""
    truncated: bool
    """Whether the text was longer than the model reads, and cut."""
    steps: int
    """Decoder steps made."""
    stopped: str
    """What ended the generation: `finished`, `max_length` or `max_time`."""
    read: Read | None = None
    """What was read, where it is the summary of a document."""

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
