"""Texts to summaries."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from conftest import FIXTURES, TEXTS

import epitome_onnx
from epitome_onnx import Summarizer, Summary, errors


def test_a_text_gives_a_summary_and_texts_a_list(summarizer: Summarizer) -> None:
    one = summarizer(TEXTS[0])
    assert isinstance(one, Summary)
    assert str(one) == one.text != ""
    assert one.stopped in ("finished", "max_length")
    several = summarizer(iter(TEXTS))
    assert [summary.text for summary in several][0] == one.text
    assert several == [summarizer(text) for text in TEXTS]
    assert several == summarizer(TEXTS, batch_size=1)
    assert summarizer([]) == []


def test_the_models_own_settings_hold_where_no_parameter_is_given(summarizer: Summarizer) -> None:
    assert summarizer.generation_config["num_beams"] == 4
    assert summarizer(TEXTS[0]).score is not None
    assert summarizer(TEXTS[0], num_beams=1).score is None
    assert summarizer(TEXTS[0], num_beams=4) == summarizer(TEXTS[0])


def test_sequences_and_scores_of_tokens_are_returned(summarizer: Summarizer) -> None:
    summary = summarizer(TEXTS[0], num_return_sequences=3, output_scores=True)
    assert len(summary.sequences) == 3
    for sequence in summary.sequences:
        assert sequence.token_scores is not None
        assert len(sequence.token_scores) == len(sequence.token_ids) - 1
    assert summary.token_ids == summary.sequences[0].token_ids


def test_tokens_are_those_of_generate_and_of_the_command(
    summarizer: Summarizer, model: Path, tmp_path: Path
) -> None:
    parameters = {"num_beams": 3, "length_penalty": 0.6, "max_length": 20}
    ids = [summarizer(text, **parameters).token_ids for text in TEXTS]
    for text, expected in zip(TEXTS, ids, strict=True):
        generated = summarizer.generate([summarizer.tokenize(text)], **parameters)
        assert generated.tolist() == [expected]
    files = []
    for index, text in enumerate(TEXTS):
        files.append(tmp_path / f"{index}.txt")
        files[-1].write_text(text)
    command = [sys.executable, "-m", "epitome_onnx", "summarize", "--model", model, "--format"]
    command += ["json", "--parameters", json.dumps(parameters), *files]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["token_ids"] for line in lines] == ids


@pytest.mark.parametrize("parameters", [{"num_beams": 1}, {"num_beams": 3}, {"do_sample": True}])
def test_the_pieces_of_a_stream_are_the_summary(
    summarizer: Summarizer, parameters: dict[str, Any]
) -> None:
    whole = summarizer(TEXTS, **parameters)
    joined = [""] * len(TEXTS)
    for index, piece in summarizer.stream(TEXTS, **parameters):
        assert piece
        joined[index] += piece
    assert joined == [summary.text for summary in whole]
    assert "".join(summarizer.stream(TEXTS[2], **parameters)) == whole[2].text


def test_greedy_search_streams_word_by_word(summarizer: Summarizer) -> None:
    pieces = list(summarizer.stream(TEXTS[2], num_beams=1, min_length=20, max_length=24))
    assert len(pieces) > 5


def test_a_closed_stream_frees_the_model(summarizer: Summarizer) -> None:
    stream = summarizer.stream(TEXTS * 20, num_beams=1, min_length=20, max_length=24)
    next(stream)
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)
    assert summarizer(TEXTS[0]).text
    with pytest.raises(errors.TextError, match="document 1 is empty"):
        list(summarizer.stream(["a text", " "]))


def test_texts_are_tokenized_and_decoded(summarizer: Summarizer) -> None:
    ids = summarizer.tokenize(TEXTS[0])
    assert ids[-1] == 1
    assert summarizer.decode(ids) == TEXTS[0]
    assert summarizer.cut([TEXTS[0], TEXTS[0] * 500]) == [False, True]
    assert summarizer(TEXTS[0] * 500).truncated


def test_a_source_prefix_is_read(bundle: Callable[..., Path]) -> None:
    plain, prefixed = (
        Summarizer(bundle("t5-gated"), source_prefix=prefix) for prefix in ("", TEXTS[0] + " ")
    )
    assert prefixed.tokenize(TEXTS[1]) == plain.tokenize(f"{TEXTS[0]} {TEXTS[1]}")


def test_a_checkpoint_is_exported_for_this_process() -> None:
    with pytest.warns(UserWarning, match="for this process only"):
        summarizer = Summarizer(FIXTURES / "tiny" / "bart-gelu")
    folder = Path(summarizer._bundle.path)  # type: ignore[union-attr]
    assert summarizer(TEXTS[0]).text is not None
    assert folder.is_dir()
    del summarizer
    assert not folder.exists()


def test_an_export_is_calibrated_with_a_file_or_with_texts(tmp_path: Path) -> None:
    source, documents = FIXTURES / "tiny" / "bart-gelu", tmp_path / "documents.csv"
    documents.write_text("body,text\n" + "\n".join(f'"{text}",none' for text in TEXTS[:3]))
    for name, calibrate, text_column in (
        ("file", documents, "body"),
        ("texts", iter(TEXTS[:3]), None),
    ):
        bundle = epitome_onnx.export(
            source,
            tmp_path / name,
            precision="int4",
            calibrate=calibrate,
            calibrate_limit=2,
            text_column=text_column,
        )
        record = Summarizer(bundle).manifest["calibration"]
        assert record["documents"] == 2
        assert record["name"] == {"file": "documents.csv", "texts": "a list"}[name]
    weights = [(tmp_path / name / "weights.bin").read_bytes() for name in ("file", "texts")]
    assert weights[0] == weights[1]


def test_the_manifest_tells_what_it_is(summarizer: Summarizer) -> None:
    assert summarizer.manifest["architecture"] == "pegasus"
    assert "threads=1" in repr(summarizer)


def test_errors_are_classes_with_sentences(
    summarizer: Summarizer, model: Path, tmp_path: Path
) -> None:
    raises: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (errors.ParameterError, "did you mean `num_beams`", lambda: summarizer("a", num_beam=4)),
        (errors.ParameterError, "must be a whole number", lambda: summarizer("a", num_beams=0)),
        (errors.ParameterError, "of type object", lambda: summarizer("a", num_beams=object())),
        (errors.ParameterError, "length_penalty", lambda: summarizer("a", length_penalty=1e999)),
        (errors.ParameterError, "num_beams", lambda: summarizer("a", num_beams=10**30)),
        (errors.ParameterError, "threads is 0", lambda: Summarizer(model, threads=0)),
        (errors.TextError, "document 1 is empty", lambda: summarizer(["a", "  "])),
        (errors.TextError, "text 0 is of type int", lambda: summarizer(cast(Any, [5]))),
        (errors.ModelError, "no folder 'nowhere'", lambda: Summarizer("nowhere")),
        (errors.ModelError, "manifest.json", lambda: Summarizer(tmp_path)),
        (errors.ExportError, "does not exist", lambda: epitome_onnx.export("nowhere", tmp_path)),
        (
            errors.ParameterError,
            "choose one of fp32",
            lambda: epitome_onnx.export("nowhere", tmp_path, precision="int3"),
        ),
        (
            errors.ParameterError,
            "'bundle' or 'optimum'",
            lambda: epitome_onnx.export("nowhere", tmp_path, layout="other"),
        ),
        (
            errors.ExportError,
            "serve int4 weights only, not int8",
            lambda: epitome_onnx.export("nowhere", tmp_path, precision="int8", calibrate=["a"]),
        ),
        (
            errors.ExportError,
            "standard input",
            lambda: epitome_onnx.export("nowhere", tmp_path, precision="int4", calibrate="-"),
        ),
        (
            errors.ParameterError,
            "text_column",
            lambda: epitome_onnx.export(
                "nowhere", tmp_path, precision="int4", calibrate=["a"], text_column="body"
            ),
        ),
        (errors.ModelError, "name", lambda: epitome_onnx.pull("not a name")),
    ]
    for kind, sentence, call in raises:
        with pytest.raises(kind) as error:
            call()
        assert sentence in str(error.value), error.value
        assert isinstance(error.value, errors.EpitomeError)
    assert issubclass(errors.ParameterError, ValueError)
    assert issubclass(errors.ModelError, OSError)


def docx(path: Path, *paragraphs: str) -> None:
    """A document in the form of word processors."""
    name = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        document = f'<w:document xmlns:w="{name}"><w:body>{body}</w:body></w:document>'
        archive.writestr("word/document.xml", document)


def test_a_document_is_summarized_whatever_its_length(
    summarizer: Summarizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another process reads the file. It imports nothing from its working folder.
    (tmp_path / "signal.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    docx(tmp_path / "short.docx", TEXTS[0])
    short = summarizer.summarize_document(tmp_path / "short.docx")
    assert short.text == summarizer(TEXTS[0]).text
    assert short.read == epitome_onnx.Read(words=5, words_read=5, parts=1)
    (tmp_path / "long.md").write_text("# Title\n\n" + " ".join(TEXTS * 20))
    long = summarizer.summarize_document("long.md", length=12, num_beams=1)
    assert long.read is not None
    assert long.read.parts > 1
    assert long.read.words_read == long.read.words
    assert 0 < len(long.text.split()) <= 60
    first = summarizer.summarize_document("long.md", reading="first")
    assert first.truncated


def test_a_document_that_cannot_be_read_is_told(summarizer: Summarizer, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("id,text\n1,a text\n2,another text\n")
    (tmp_path / "broken.docx").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "text.txt").write_text(TEXTS[0])
    for name, said in [
        ("missing.pdf", "does not exist"),
        ("table.csv", "holds 2 documents"),
        ("broken.docx", "broken.docx"),
    ]:
        with pytest.raises(errors.DocumentError) as error:
            summarizer.summarize_document(tmp_path / name)
        assert said in str(error.value)
    wrong: list[dict[str, Any]] = [{"length": "huge"}, {"reading": "backwards"}, {"num_beam": 1}]
    for arguments in wrong:
        with pytest.raises(errors.ParameterError):
            summarizer.summarize_document(tmp_path / "text.txt", **arguments)
