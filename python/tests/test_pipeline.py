"""Pipelines of transformers 4. fixtures/make_pipeline_goldens.py made the answers."""

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import GeneratorType
from typing import Any

import numpy as np
import pytest
from conftest import FIXTURES, TEXTS

from epitome_onnx import Pipeline, Summarizer, pipeline
from epitome_onnx.errors import ParameterError, TextError

GOLDENS = json.loads((FIXTURES / "goldens" / "pipelines.json").read_text())


def plain(value: Any) -> Any:
    """The answer in a form that JSON can hold."""
    if isinstance(value, np.ndarray):
        assert value.dtype == np.int64
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | GeneratorType):
        return [plain(item) for item in value]
    return value


@pytest.mark.parametrize("case", GOLDENS["cases"], ids=lambda case: case["id"])
def test_answers_are_those_of_transformers_4(bundle: Callable[..., Path], case: Any) -> None:
    pipe = pipeline(case["task"], model=bundle(GOLDENS["model"]))
    texts = case["inputs"]
    inputs = (text for text in texts) if case["kind"] == "generator" else texts
    found = pipe(inputs, **case["arguments"])
    assert isinstance(found, GeneratorType) == (case["kind"] == "generator")
    assert plain(found) == case["outputs"]


def test_no_more_is_taken_from_a_generator_than_a_batch(summarizer: Summarizer) -> None:
    taken: list[str] = []

    def texts() -> Iterator[str]:
        for text in TEXTS * 2:
            taken.append(text)
            yield text

    answers = pipeline("summarization", summarizer)(texts(), batch_size=2)
    assert not taken
    next(answers)
    assert len(taken) == 2
    assert len(list(answers)) == 5


def test_a_dataset_needs_no_iterator(summarizer: Summarizer) -> None:
    class Dataset:
        """Imitates a data set of PyTorch."""

        def __len__(self) -> int:
            return len(TEXTS)

        def __getitem__(self, index: int) -> str:
            return TEXTS[index]

    pipe = pipeline("summarization", summarizer)
    assert [one[0] for one in pipe(Dataset())] == pipe(TEXTS)  # type: ignore[call-overload]


def test_a_batch_size_changes_no_answer(summarizer: Summarizer) -> None:
    pipe = pipeline("summarization", summarizer, num_beams=2)
    assert pipe(TEXTS, batch_size=1) == pipe(TEXTS, batch_size=16) == pipe(tuple(TEXTS))


def test_spaces_before_punctuation_are_taken_away(summarizer: Summarizer) -> None:
    from epitome_onnx._pipeline import _cleaned

    assert _cleaned("it is n't , is it ?") == "it isn't, is it?"
    pipe = pipeline("summarization", summarizer)
    answer = pipe(TEXTS[0], clean_up_tokenization_spaces=True)
    assert answer == [{"summary_text": _cleaned(summarizer(TEXTS[0]).text)}]


def test_truncation_may_be_forbidden(summarizer: Summarizer) -> None:
    pipe = pipeline("summarization", summarizer)
    long = TEXTS[0] * 500
    assert pipe(long) == pipe(long, truncation=True)
    for truncation in (False, "do_not_truncate"):
        assert pipe(TEXTS[0], truncation=truncation)
        with pytest.raises(TextError, match="text 1 is longer than the .* tokens"):
            pipe([TEXTS[0], long], truncation=truncation)


def test_what_has_no_meaning_here_is_refused(
    summarizer: Summarizer, bundle: Callable[..., Path]
) -> None:
    for arguments, said in [
        ({"task": "translate"}, "must be one of summarization"),
        ({"device": "cuda"}, "must be 'cpu'"),
        ({"tokenizer": "other"}, "its own tokenizer"),
    ]:
        with pytest.raises(ParameterError, match=said):
            pipeline(**{"task": "summarization", "model": summarizer, **arguments})
    with pytest.raises(ParameterError, match="did you mean `num_beams`"):
        pipeline("summarization", summarizer)(iter(TEXTS), num_beam=2)
    with pytest.raises(ParameterError, match="return_text"):
        pipeline("summarization", summarizer)("a text", return_text=False)
    multilingual = Summarizer(bundle("mbart-gelu"))
    with pytest.raises(ParameterError, match="forced_bos_token_id"):
        pipeline("translation_en_to_de", multilingual)
    with pytest.raises(ParameterError, match="forced_bos_token_id"):
        pipeline("translation", multilingual)("a text", tgt_lang="de_DE")
    # As in transformers, a model of one language pair needs no languages.
    assert pipeline("translation", summarizer)("a text", tgt_lang="de")


def test_a_pipeline_is_pickled_with_its_model(summarizer: Summarizer) -> None:
    pipe = pipeline("summarization", summarizer, num_beams=2)
    again: Pipeline = pickle.loads(pickle.dumps(pipe))
    assert again(TEXTS) == pipe(TEXTS)
