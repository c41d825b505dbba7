"""`generate` against the arrays of transformers' `generate`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FIXTURES, TEXTS, epitome

from epitome_onnx import GenerateOutput, Summarizer
from epitome_onnx.errors import ParameterError, TextError

CASES = [json.loads(line) for line in (FIXTURES / "goldens" / "batches.jsonl").open()]


def is_refused(parameters: dict[str, Any]) -> bool:
    """Whether the minimum length exceeds the maximum: transformers warns, and epitome refuses."""
    prompt = len(parameters.get("decoder_input_ids", [])) + 1
    least = parameters.get("min_length", 0)
    if "min_new_tokens" in parameters:
        least = parameters["min_new_tokens"] + prompt
    greatest = parameters.get("max_length", parameters.get("max_new_tokens", 0) + prompt)
    return bool(least > greatest)


def test_arrays_are_those_of_transformers_on_random_settings(
    bundle: Callable[..., Path],
) -> None:
    assert len(CASES) == 100
    models: dict[str, Summarizer] = {}
    wrong, refused = [], 0
    for case in CASES:
        name = case["model"]
        if name not in models:
            models[name] = Summarizer(bundle(name))
        if is_refused(case["p"]):
            refused += 1
            with pytest.raises(ParameterError, match="the longest sequence allowed"):
                models[name].generate(case["input_ids"], **case["p"])
            continue
        mask = case.get("attention_mask")
        found = models[name].generate(
            np.array(case["input_ids"]), None if mask is None else np.array(mask), **case["p"]
        )
        assert found.dtype == np.int64
        if found.tolist() != case["o"]:
            wrong.append((case, found.tolist()))
    assert refused < 10
    assert not wrong, f"{len(wrong)} of {len(CASES)}, first {wrong[0]}"


def test_the_command_gives_the_same_ids(bundle: Callable[..., Path], tmp_path: Path) -> None:
    models: dict[str, Summarizer] = {}
    wrong, compared = [], 0
    for index, case in enumerate(CASES):
        name, parameters = case["model"], case["p"]
        # These parameters are arrays in transformers, or are refused.
        if "decoder_input_ids" in parameters or is_refused(parameters):
            continue
        compared += 1
        if name not in models:
            models[name] = Summarizer(bundle(name))
        (tmp_path / "text.txt").write_text(TEXTS[index % len(TEXTS)])
        printed = epitome(
            "summarize", "--model", bundle(name), "--format", "json", "--long", "first",
            "--parameters", json.dumps(parameters), tmp_path / "text.txt",
        )  # fmt: skip
        assert printed.returncode == 0, printed.stderr
        rows = [json.loads(line)["token_ids"] for line in printed.stdout.splitlines()]
        found = models[name].generate(
            [models[name].tokenize(TEXTS[index % len(TEXTS)])], **parameters
        ).tolist()
        fill = models[name].fill_token_id(**parameters)
        longest = max(map(len, rows))
        if found != [row + [fill] * (longest - len(row)) for row in rows]:
            wrong.append((case, rows, found))
    assert compared > 80
    assert not wrong, f"{len(wrong)} of {compared}, first {wrong[0]}"


def test_lists_tensors_and_numbers_of_numpy_are_taken(summarizer: Summarizer) -> None:
    class Tensor:
        """Imitates a tensor of PyTorch."""

        def __init__(self, values: Any) -> None:
            self.values = values

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.array(self.values, dtype)

        def tolist(self) -> Any:
            return self.values

    ids = [summarizer.tokenize("The tool compares two folders.")]
    plain = summarizer.generate(ids, num_beams=2, decoder_input_ids=[0, 5])
    same = summarizer.generate(
        Tensor(ids), num_beams=np.int64(2), decoder_input_ids=Tensor([[0, 5]])
    )
    assert plain.tolist() == same.tolist()
    assert plain[0, :2].tolist() == [0, 5]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.dtype(">i8")])
def test_arrays_of_any_integers_are_read_and_the_result_may_be_changed(
    summarizer: Summarizer, dtype: Any
) -> None:
    ids = summarizer.tokenize("The tool compares two folders.")
    padded = np.array([[*ids, 0, 0], [*ids[-3:-1], 1, *[0] * (len(ids) - 1)]], dtype)
    # Fortran order, and every second row: neither array is contiguous in memory.
    array = np.asfortranarray(np.repeat(padded, 2, axis=0))[::2]
    found = summarizer.generate(array, (array != 0).astype(dtype), num_beams=2)
    for row, given in zip(found, ([ids], [[*ids[-3:-1], 1]]), strict=True):
        alone = summarizer.generate(given, num_beams=2)[0]
        assert row[: len(alone)].tolist() == alone.tolist()
    assert found.dtype == np.int64
    found[0, 0] = 7


def test_a_sequence_bias_may_be_a_dictionary(summarizer: Summarizer) -> None:
    ids = [summarizer.tokenize("The tool compares two folders.")]
    as_pairs = summarizer.generate(ids, sequence_bias=[[[20, 21], 4.0], [[22], -3.0]])
    as_keys = summarizer.generate(ids, sequence_bias={(20, 21): 4.0, (22,): -3.0})
    assert as_pairs.tolist() == as_keys.tolist()


def test_scores_come_where_a_dictionary_is_asked_for(summarizer: Summarizer) -> None:
    ids = [summarizer.tokenize("The tool compares two folders.")]
    beams = summarizer.generate(
        ids, return_dict_in_generate=True, num_beams=3, num_return_sequences=3
    )
    assert isinstance(beams, GenerateOutput)
    assert beams.sequences.shape[0] == 3
    assert beams.sequences_scores is not None
    assert sorted(beams.sequences_scores, reverse=True) == beams.sequences_scores.tolist()
    greedy = summarizer.generate(ids, return_dict_in_generate=True, num_beams=1)
    assert greedy.sequences_scores is None


@pytest.mark.parametrize(
    ("ids", "mask", "said"),
    [
        ([1, 2], None, "shape [2]"),
        ([[1.5]], None, "float64"),
        ([[]], None, "shape [1, 0]"),
        ([[5, 100_000]], None, "holds a token that the model does not have"),
        ([[5, -1]], None, "holds a token that the model does not have"),
        ([[5, 1]], [[1]], "another shape"),
        ([[5, 6, 1], [5, 6, 1]], [[1, 1], [1, 1], [1, 1]], "another shape"),
        ([[5, 1]], [[0, 1]], "pad on the right"),
        ([[5, 1]], [[0, 0]], "no token that counts"),
        ([[5] * 5000], None, "truncate it"),
    ],
)
def test_arrays_that_no_model_reads_are_refused(
    summarizer: Summarizer, ids: Any, mask: Any, said: str
) -> None:
    with pytest.raises(TextError) as error:
        summarizer.generate(ids, mask)
    assert said in str(error.value)


def test_rows_must_start_alike(summarizer: Summarizer) -> None:
    with pytest.raises(ParameterError, match="the same for every row"):
        summarizer.generate([[5, 1], [6, 1]], decoder_input_ids=[[0, 5], [0, 6]])
