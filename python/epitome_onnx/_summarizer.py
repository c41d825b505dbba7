"""The `Summarizer`."""

import atexit
import json
import os
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, overload
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from . import _fork
from ._epitome import Model, Pieces
from ._models import Bundle, StrPath
from ._summary import Read, Sequence, Summary
from .errors import ParameterError, TextError

Ids = npt.NDArray[np.int64]

_running: WeakSet[Pieces] = WeakSet()


@dataclass(frozen=True)
class GenerateOutput:
    """The result of `Summarizer.generate` with `return_dict_in_generate=True`."""

    sequences: Ids
    """Token ids, `[batch * num_return_sequences, length]`."""
    sequences_scores: npt.NDArray[np.float32] | None
    """Score of each row, `[batch * num_return_sequences]`; `None` without beam search."""


class Summarizer:
    """A model, loaded and ready.

    Threads may share it: one of them generates at a time, and Python runs on meanwhile. It can be
    pickled, by its path and options, and works on after a fork: the other process opens the model
    again, and shares the memory of its weights.

    Args:
        model: The folder of a bundle, or the name of a model in the store; a model of the Hugging
            Face hub (`OWNER/NAME`), which is pulled to the store unless it is there; or a
            checkpoint folder or `model.tar.gz`, which is exported for this process.
        threads: Threads to work with; by default as many as the process may use, by its affinity
            and its cgroup.
        source_prefix: Text to put before every document in place of the model's own, as T5's
            `summarize: `.

    Raises:
        ModelError: There is no model, or a damaged one.
        LibraryError: ONNX Runtime cannot be found or loaded.
    """

    def __init__(
        self, model: StrPath, *, threads: int | None = None, source_prefix: str | None = None
    ) -> None:
        if threads is not None and threads < 1:
            raise ParameterError(f"threads is {threads}, but it must be 1 or more")
        # It may be unpickled in another working folder.
        path = os.fspath(model)
        self._path = os.path.abspath(path) if os.path.exists(path) else path
        self._options = (threads, source_prefix)
        self._bundle: Bundle | None = None
        self._model: Model | None = None
        self._ready()
        _fork.watch(self)

    def _ready(self) -> Model:
        """The open model. A new process opens it again."""
        model = self._model
        if model is None:
            with _fork.opening:
                if self._model is None:
                    self._bundle = self._bundle or Bundle(self._path)
                    self._model = Model(self._bundle.path, *self._options)
                model = self._model
        return model

    def forget(self) -> None:
        """Closes the model until it is used again."""
        self._model = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_options": self._options}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state, _bundle=None, _model=None)
        _fork.watch(self)

    def __repr__(self) -> str:
        return f"Summarizer({self._path!r}, threads={self.threads})"

    @overload
    def __call__(
        self, texts: str, *, batch_size: int | None = None, **parameters: Any
    ) -> Summary: ...
    @overload
    def __call__(
        self, texts: Iterable[str], *, batch_size: int | None = None, **parameters: Any
    ) -> list[Summary]: ...
    def __call__(
        self, texts: str | Iterable[str], *, batch_size: int | None = None, **parameters: Any
    ) -> Summary | list[Summary]:
        """Summarizes a text, or several. Each gets exactly the summary that it gets alone.

        Args:
            texts: A text, or any number of them.
            batch_size: Texts to decode together, in place of as many as 64 beams.
            parameters: Generation parameters of transformers, such as `num_beams=4`; the model's
                own defaults hold for the others.

        Returns:
            A `Summary` for a text, and a list of them for several.

        Raises:
            ParameterError: A parameter is unknown, out of range, or contradicts another.
            TextError: A text is empty.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        found = self._ready().summarize(_texts(several), parameters, batch_size)
        summaries = [_summary(*fields) for fields in found]
        return summaries[0] if isinstance(texts, str) else summaries

    @overload
    def stream(self, texts: str, **parameters: Any) -> Generator[str, None, None]: ...
    @overload
    def stream(
        self, texts: Iterable[str], **parameters: Any
    ) -> Generator[tuple[int, str], None, None]: ...
    def stream(
        self, texts: str | Iterable[str], **parameters: Any
    ) -> Generator[str, None, None] | Generator[tuple[int, str], None, None]:
        """Summarizes a text, or several, and hands out pieces of text as they become final.

        With greedy search and sampling a piece is about a word. Beam search decides at the end, and
        gives each summary whole, as soon as it is there.

        Returns:
            For a text its pieces; for several texts pairs of the number of the text, from 0, and a
            piece. Closing the generator ends the search.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        pieces = self._ready().stream(_texts(several), parameters)
        _running.add(pieces)
        return _only_text(pieces) if isinstance(texts, str) else _numbered(pieces)

    def summarize_document(
        self,
        path: StrPath,
        *,
        length: str | int | None = None,
        reading: str = "parts",
        **parameters: Any,
    ) -> Summary:
        """Summarizes a document of any length: PDF, DOCX, ODT, EPUB, HTML, Markdown, text and more.

        The file is read in a process of its own, with limits of memory and time.

        Args:
            path: The file.
            length: Most words of the summary: `short` (60), `medium` (150), `long` (400), a number,
                or a share of the document such as `10%`. Without one it is `medium` where a
                document is read in several parts, and else what the model writes.
            reading: How to read a document that is longer than the model's window: `parts` reads
                all of it, `first` what fits, `lexrank` the most central sentences.
            parameters: Generation parameters of transformers.

        Raises:
            DocumentError: The file cannot be read.
        """
        words = f"{length} words" if isinstance(length, int) else length
        model = self._ready()
        return _summary(*model.summarize_document(os.fspath(path), words, reading, parameters))

    def generate(
        self,
        input_ids: npt.ArrayLike,
        attention_mask: npt.ArrayLike | None = None,
        **parameters: Any,
    ) -> Any:
        """Generates from token ids, as transformers' `generate` does.

        Args:
            input_ids: Token ids, `[batch, length]`, padded on the right.
            attention_mask: 1 for what counts and 0 for padding, of the same shape. Without one, all
                counts, as in transformers.
            parameters: Generation parameters of transformers.

        Returns:
            Token ids, `[batch * num_return_sequences, length]`, int64: decoder start first, shorter
            rows padded, as transformers returns them. With `return_dict_in_generate=True` a
            `GenerateOutput`.
        """
        ids = _matrix("input_ids", input_ids)
        mask = None if attention_mask is None else _matrix("attention_mask", attention_mask)
        as_dict = bool(parameters.pop("return_dict_in_generate", False))
        start = parameters.get("decoder_input_ids")
        if start is not None:
            parameters["decoder_input_ids"] = _same_row(start)
        found, columns, scores = self._ready().generate(ids, mask, parameters)
        sequences = np.frombuffer(found, np.int64).reshape(-1, columns)
        if not as_dict:
            return sequences
        known = [score for score in scores if score is not None]
        return GenerateOutput(
            sequences, np.array(known, np.float32) if len(known) == len(scores) else None
        )

    def check(self, **parameters: Any) -> None:
        """Checks generation parameters without generating.

        Raises:
            ParameterError: A parameter is unknown, out of range, or contradicts another.
        """
        self._ready().fill_token_id(parameters)

    def fill_token_id(self, **parameters: Any) -> int:
        """The token with which `generate` pads shorter rows."""
        return self._ready().fill_token_id(parameters)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text as the model reads it: prefix and end token included, and cut to what
        the model reads.
        """
        return self._ready().encode([text])[0][0]

    def decode(self, token_ids: npt.ArrayLike) -> str:
        """The text of token ids, without special tokens."""
        return self._ready().decode(np.asarray(token_ids).reshape(-1).tolist())

    def cut(self, texts: Iterable[str]) -> list[bool]:
        """Whether each text is longer than the model's window."""
        return [cut for _, cut in self._ready().encode(_texts(list(texts)))]

    @property
    def threads(self) -> int:
        """Number of threads of an operator."""
        return self._ready().threads

    @property
    def manifest(self) -> dict[str, Any]:
        """The bundle's manifest: its content and its source."""
        manifest: dict[str, Any] = json.loads(self._ready().manifest())
        return manifest

    @property
    def generation_config(self) -> dict[str, Any]:
        """The model's generation defaults."""
        defaults: dict[str, Any] = json.loads(self._ready().generation_config())
        return defaults


def _numbered(pieces: Pieces) -> Generator[tuple[int, str], None, None]:
    try:
        yield from pieces
    finally:
        pieces.close()


def _only_text(pieces: Pieces) -> Generator[str, None, None]:
    try:
        for _, piece in pieces:
            yield piece
    finally:
        pieces.close()


@atexit.register
def _close_streams() -> None:
    """Ends searches before the process ends, since they would use freed memory."""
    for pieces in list(_running):
        pieces.close()


def _summary(
    sequences: list[Any],
    tokens: int,
    cut: bool,
    steps: int,
    stopped: str,
    read: tuple[int, int, int] | None,
) -> Summary:
    made = [Sequence(*sequence) for sequence in sequences]
    return Summary(made, tokens, cut, steps, stopped, None if read is None else Read(*read))


def _texts(texts: list[str]) -> list[str]:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TextError(f"text {index} is of type {type(text).__name__}: give a str")
    return texts


def _matrix(name: str, array: npt.ArrayLike) -> tuple[bytes, int]:
    """The bytes of an array of int64, and its number of columns."""
    matrix = np.asarray(array)
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "iub":
        raise TextError(
            f"{name} has shape {list(matrix.shape)} and type {matrix.dtype}: give integers of "
            "shape [batch, length]"
        )
    return matrix.astype(np.int64, copy=False).tobytes(), matrix.shape[1]


def _same_row(start: npt.ArrayLike) -> list[int]:
    """The common row of `decoder_input_ids`; transformers takes a row for each document."""
    rows = np.atleast_2d(np.asarray(start))
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or (rows != rows[:1]).any():
        raise ParameterError(
            "generation parameter `decoder_input_ids` must be a list of token ids, the same for "
            "every row"
        )
    row: list[int] = rows[0].tolist()
    return row
