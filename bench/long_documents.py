#!/usr/bin/env python3
"""Measures the ways to summarize documents that are longer than the model's window.

usage: long_documents.py EPITOME MODEL [--aclsum FOLDER] [--documents N] [--half first|second]
                         [--words N] [-- ARGUMENTS OF SUMMARIZE]

Two kinds of documents:

* joined: K held-out package descriptions of ../fixtures/summaries/validation-1000.csv, one after
  another. Their synopses are the reference.
* aclsum: abstract, introduction and conclusion of papers, with three human summaries each. FOLDER
  is `aclsum/dataset` of the PyPI package aclsum 0.1.2, unpacked.

For each way it prints ROUGE-1, -2 and -L (F1, with stemming) of the first N words of what it wrote
(N: those of the reference), the words it wrote, the share of its sentences that repeat an earlier
one, and where in the document the words of the summary come from (a share for each quarter).
`lead` is the first N words of the document. Needs rouge-score of PyPI."""

import argparse
import csv
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

from rouge_score import rouge_scorer

HERE = pathlib.Path(__file__).resolve().parent
PAIRS = HERE.parent / "fixtures" / "summaries" / "validation-1000.csv"
SEED = 7
JOINED = 20  # descriptions in a document


def joined_documents():
    with open(PAIRS, newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(SEED).shuffle(rows)
    for at in range(0, len(rows) - JOINED + 1, JOINED):
        group = rows[at : at + JOINED]
        yield (
            "\n\n".join(row["text"] for row in group),
            " ".join(row["summary"].rstrip(".") + "." for row in group),
        )


def detokenized(text):
    text = re.sub(r"\s+([.,;:!?)\]%])", r"\1", text)
    return re.sub(r"([(\[])\s+", r"\1", text)


def papers(folder):
    for name in ("train", "val", "test"):
        with open(pathlib.Path(folder) / f"{name}.jsonl") as file:
            for line in file:
                paper = json.loads(line)
                parts = (detokenized(" ".join(part)) for part in paper["sentences"].values())
                reference = (
                    detokenized(paper["summary"][k]) for k in ("challenge", "approach", "outcome")
                )
                yield "\n\n".join(parts), " ".join(reference)


def summaries(epitome, model, documents, arguments):
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(documents):
            pathlib.Path(folder, f"{number:05}.txt").write_text(text)
        command = [epitome, "summarize", "--model", model, "--format", "json", *arguments, folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(documents)
    return lines


def words(text):
    return re.findall(r"\w+", text.lower())


def sentences(text):
    return [
        set(words(sentence)) for sentence in re.split(r"(?<=[.!?])\s+", text) if words(sentence)
    ]


def repeated(text):
    """The share of sentences that have 60% of their words in common with an earlier one."""
    all_of_them = sentences(text)
    same = lambda a, b: len(a & b) / len(a | b) >= 0.6
    found = sum(any(same(a, b) for b in all_of_them[:at]) for at, a in enumerate(all_of_them))
    return found / max(len(all_of_them), 1)


def origins(document, summary):
    """For each quarter of the document, the share of the summary's pairs of words that are first
    found there."""
    source, counts = words(document), [0] * 4
    first = {}
    for at, pair in enumerate(zip(source, source[1:])):
        first.setdefault(pair, at)
    written = words(summary)
    for pair in zip(written, written[1:]):
        if pair in first:
            counts[min(first[pair] * 4 // len(source), 3)] += 1
    return [count / max(sum(counts), 1) for count in counts]


def report(name, pairs, texts, seconds=None):
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    totals, places, lengths, repeats = [0.0] * 3, [0.0] * 4, 0, 0.0
    for (document, reference), text in zip(pairs, texts):
        cut = " ".join(text.split()[: len(reference.split())])
        scores = scorer.score(reference, cut)
        for at, kind in enumerate(("rouge1", "rouge2", "rougeL")):
            totals[at] += scores[kind].fmeasure * 100
        places = [a + b for a, b in zip(places, origins(document, cut))]
        lengths += len(text.split())
        repeats += repeated(text)
    count = len(pairs)
    row = [f"{total / count:.1f}" for total in totals]
    row += [f"{lengths / count:.0f}", f"{100 * repeats / count:.1f}%"]
    row += [" ".join(f"{100 * place / count:.0f}" for place in places)]
    row += [f"{seconds / count:.2f}" if seconds is not None else ""]
    print("|", name, "|", " | ".join(row), "|", flush=True)


def study(title, pairs, options, arguments):
    reference = sum(len(reference.split()) for _, reference in pairs) / len(pairs)
    length = sum(len(document.split()) for document, _ in pairs) / len(pairs)
    print(
        f"\n{title}: {len(pairs)} documents of {length:.0f} words, references of {reference:.0f}\n"
    )
    print("| way | ROUGE-1 | ROUGE-2 | ROUGE-L | words | repeated | from quarters (%) | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    budget = ["--length", f"{options.words or round(reference)} words"]
    for way in options.ways.split(","):
        if way == "lead":
            texts = [" ".join(d.split()[: len(r.split())]) for d, r in pairs]
            report(way, pairs, texts)
            continue
        lines = summaries(
            options.epitome,
            options.model,
            [document for document, _ in pairs],
            ["--long", way, *budget, *arguments],
        )
        seconds = sum(line["seconds"]["total"] for line in lines)
        report(way, pairs, [line["generated_text"] for line in lines], seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("epitome")
    parser.add_argument("model")
    parser.add_argument("--aclsum")
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--half", choices=("first", "second"), default="second")
    parser.add_argument("--words", type=int)
    parser.add_argument("--ways", default="parts,first,lexrank,lead")
    given = sys.argv[1:]
    at = given.index("--") if "--" in given else len(given)
    options, arguments = parser.parse_args(given[:at]), given[at + 1 :]
    half = {"first": 0, "second": 1}[options.half]
    studies = [("joined", list(joined_documents()))]
    if options.aclsum:
        studies.append(("aclsum", list(papers(options.aclsum))))
    for title, pairs in studies:
        study(title, pairs[half::2][: options.documents], options, arguments)


main()
