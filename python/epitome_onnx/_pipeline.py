"""Pipelines with the interface of transformers 4, for programs that were written for it."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, overload

import numpy as np

from ._models import StrPath
from ._summarizer import Summarizer
from ._summary import Summary
from .errors import ParameterError, TextError

Record = dict[str, Any]
"""A record such as `{"summary_text": "..."}`."""

_NAMES = {
    "summarization": "summary",
    "text2text-generation": "generated",
    "translation": "translation",
}
_TRANSLATION = re.compile(r"translation_\w+_to_\w+")
_MULTILINGUAL = {"mbart", "m2m_100"}
"""Architectures whose source language is a token, which the export has fixed."""

# `clean_up_tokenization` of transformers' tokenizers.
_CLEANED = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
]


def pipeline(
    task: str,
    model: "StrPath | Summarizer",
    tokenizer: Any = None,
    *,
    device: Any = None,
    framework: Any = None,
    threads: int | None = None,
    batch_size: int | None = None,
    **parameters: Any,
) -> "Pipeline":
    """A pipeline as `transformers.pipeline` of version 4 makes it.

    Args:
        task: `summarization`, `text2text-generation`, `translation` or `translation_XX_to_YY`.
        model: A bundle, a checkpoint or an archive, as for `Summarizer`; or a `Summarizer`.
        tokenizer: The model's own is used: give none, or the model again.
        device: `cpu` or -1, the only device there is.
        framework: Ignored.
        threads: Threads to work with.
        batch_size: Texts to decode together, where a call does not say.
        parameters: Arguments of every call, such as `num_beams=4`.
    """
    if task not in _NAMES and not _TRANSLATION.fullmatch(task):
        known = ", ".join([*_NAMES, "translation_XX_to_YY"])
        raise ParameterError(f"task is '{task}', and must be one of {known}")
    if tokenizer is not None and tokenizer != model:
        raise ParameterError("tokenizer must be None: a model is used with its own tokenizer")
    if str(device) not in ("None", "-1", "cpu"):
        raise ParameterError(f"device is {device}, and must be 'cpu' or -1")
    if not isinstance(model, Summarizer):
        model = Summarizer(model, threads=threads)
    return Pipeline(task, model, batch_size, parameters)


class Pipeline:
    """Texts to records such as `{"summary_text": "..."}`."""

    def __init__(
        self,
        task: str,
        model: Summarizer,
        batch_size: int | None = None,
        parameters: Record | None = None,
    ) -> None:
        self.task = task
        self.model = model
        self.batch_size = batch_size
        self._name = _NAMES[task.partition("_")[0]]
        self._parameters = parameters or {}
        if task != "translation" and self._name == "translation":
            _, source, _, target = task.split("_")
            self._check_languages(source, target)

    @overload
    def __call__(self, inputs: str, **arguments: Any) -> list[Record]: ...
    @overload
    def __call__(
        self, inputs: list[str] | tuple[str, ...], **arguments: Any
    ) -> list[Record] | list[list[Record]]: ...
    @overload
    def __call__(self, inputs: Iterable[str], **arguments: Any) -> Iterator[list[Record]]: ...
    def __call__(
        self, inputs: str | Iterable[str], **arguments: Any
    ) -> list[Record] | list[list[Record]] | Iterator[list[Record]]:
        """Works on a text, a list of them, or a generator or dataset.

        Args:
            inputs: The text or texts.
            batch_size: Texts to decode together. It changes no result.
            return_tensors: Whether to return token ids (`summary_token_ids`) in place of text.
            clean_up_tokenization_spaces: Whether to take away spaces before punctuation; by default
                the text is as the model's tokenizer decodes it.
            truncation: `False` or `"do_not_truncate"` refuses a text that is longer than the model
                reads; by default it is cut.
            arguments: Generation parameters of transformers.

        Returns:
            For a text a list of `num_return_sequences` records. For a list a list of records, or of
            lists of them where there are several for each text. For a generator or a dataset a
            generator of lists of records.
        """
        call = _Call(self, {**self._parameters, **arguments})
        if isinstance(inputs, str):
            return call.records([inputs])[0]
        if not isinstance(inputs, list | tuple):
            return call.stream(inputs)
        records = call.records(list(inputs))
        if all(len(one) == 1 for one in records):
            return [one[0] for one in records]
        return records

    def _check_languages(self, *languages: str | None) -> None:
        if any(languages) and self.model.manifest["architecture"] in _MULTILINGUAL:
            raise ParameterError(
                "the source language was chosen when the model was exported, and the target "
                "language is forced_bos_token_id: leave src_lang and tgt_lang out"
            )


class _Call:
    """The arguments of one call."""

    def __init__(self, pipe: Pipeline, arguments: Record) -> None:
        self.model = pipe.model
        self.name = pipe._name
        self.batch_size: int | None = arguments.pop("batch_size", None) or pipe.batch_size
        self.tensors = arguments.pop("return_tensors", None)
        if arguments.pop("return_text", None) is False and not self.tensors:
            raise ParameterError("return_text is False: ask for return_tensors=True instead")
        self.clean_up = arguments.pop("clean_up_tokenization_spaces", None)
        truncation = arguments.pop("truncation", None)
        self.whole = truncation is False or truncation == "do_not_truncate"
        if pipe._name == "translation":
            pipe._check_languages(arguments.pop("src_lang", None), arguments.pop("tgt_lang", None))
        self.parameters = arguments
        self.model.check(**arguments)

    def records(self, texts: list[str]) -> list[list[Record]]:
        """A list of records for each text."""
        if self.whole and True in (cut := self.model.cut(texts)):
            raise TextError(
                f"text {cut.index(True)} is longer than the "
                f"{self.model.manifest['max_source_tokens']} tokens the model reads: shorten it, "
                "or leave truncation out"
            )
        summaries = self.model(texts, batch_size=self.batch_size, **self.parameters)
        return [self.of(summary) for summary in summaries]

    def stream(self, texts: Iterable[str]) -> Iterator[list[Record]]:
        """A list of records for each text of an iterator. Takes at most a batch ahead."""
        coming = iter(texts)
        while batch := list(islice(coming, self.batch_size or 1)):
            yield from self.records(batch)

    def of(self, summary: Summary) -> list[Record]:
        """The records of a text."""
        if self.tensors:
            longest = max(len(sequence.token_ids) for sequence in summary.sequences)
            fill = self.model.fill_token_id(**self.parameters)
            rows = [
                sequence.token_ids + [fill] * (longest - len(sequence.token_ids))
                for sequence in summary.sequences
            ]
            return [{f"{self.name}_token_ids": np.array(row, np.int64)} for row in rows]
        texts = [sequence.text for sequence in summary.sequences]
        if self.clean_up:
            texts = [_cleaned(text) for text in texts]
        return [{f"{self.name}_text": text} for text in texts]


def _cleaned(text: str) -> str:
    for found, cleaned in _CLEANED:
        text = text.replace(found, cleaned)
    return text
