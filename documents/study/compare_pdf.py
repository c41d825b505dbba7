#!/usr/bin/env python3
"""Compares the text that readers of PDF give with that of poppler's pdftotext.

    compare_pdf.py FOLDER NAME=COMMAND... [--json FILE]

FOLDER holds PDF files. A COMMAND is called with the path of a file, and prints its text, or the
JSON of the example `extract` of epitome-documents. For each command:

F1          harmonic mean of precision and recall of words, as pdftotext has them after headers and
            footers are left out and words cut at line ends are joined
order       share of the reference's pairs of neighbouring words that are neighbours here too
ligatures   words with a ligature as one character, in ten thousand words
hyphens     words that pdftotext cuts at a line end and that are whole here, in percent
furniture   headers and footers that are still there, in percent of those on the pages
failed      files that gave an error, a crash, or no text where pdftotext has some

Both sides are put into NFKC before words are compared, but for the count of ligatures.
"""

import collections
import json
import re
import resource
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

WORD = re.compile(r"\w+")


def words(text):
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def reference(path):
    """The words, those cut at line ends, and the lines that repeat at the edges of pages."""
    text = subprocess.run(
        ["pdftotext", "-enc", "UTF-8", path, "-"], capture_output=True, timeout=300
    )
    pages = text.stdout.decode("utf-8", "replace").split("\f")
    pages = [[line.strip() for line in page.split("\n") if line.strip()] for page in pages]
    pages = [page for page in pages if page]

    def pattern(line):
        return re.sub(r"\b[ivxlc]+\b|\d+", "#", line.lower())

    counts = collections.Counter()
    for page in pages:
        counts.update({pattern(line) for line in page[:2] + page[-2:]})
    repeated = {line for line, count in counts.items() if count >= max(3, len(pages) // 20)}
    furniture = collections.Counter()
    kept = []
    for page in pages:
        for at, line in enumerate(page):
            if (at < 2 or at >= len(page) - 2) and pattern(line) in repeated:
                furniture[line] += 1
            else:
                kept.append(line)
    cut = re.compile(r"(\w*[^\W\d_])[-\u2010\u00ad]$")
    out, joined = [""], []
    for line in kept:
        match = cut.search(out[-1])
        if match and line[:1].islower():
            rest = re.match(r"\w*", line).group()
            joined.append((match.group(1) + rest).lower())
            out[-1] = out[-1][:-1] + line
        else:
            out.append(line)
    return words("\n".join(out)), joined, furniture


def run(command, path):
    start = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run([*command.split(), str(path)], capture_output=True, timeout=120)
        text = done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        text = None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if text and text.startswith('[{"format"'):
        sections = [section for document in json.loads(text) for section in document["sections"]]
        text = "\n\n".join(f"{it['heading'] or ''}\n\n{it['text']}" for it in sections)
    return text, seconds, time.monotonic() - start


def main():
    arguments = sys.argv[1:]
    report = None
    if "--json" in arguments:
        at = arguments.index("--json")
        report = arguments[at + 1]
        del arguments[at : at + 2]
    folder, *commands = arguments
    commands = dict(command.split("=", 1) for command in commands)
    rows = []
    for path in sorted(Path(folder).glob("*.pdf")):
        expected, cut, furniture = reference(path)
        if len(expected) < 30:
            continue
        pairs = collections.Counter(zip(expected, expected[1:]))
        for name, command in commands.items():
            text, seconds, _ = run(command, path)
            row = {"file": path.name, "reader": name, "words": len(expected), "seconds": seconds}
            rows.append(row)
            if text is None or not text.strip():
                row["failed"] = True
                continue
            got = words(text)
            common = sum((collections.Counter(expected) & collections.Counter(got)).values())
            row["f1"] = 2 * common / (len(expected) + len(got))
            got_pairs = collections.Counter(zip(got, got[1:]))
            row["order"] = sum((pairs & got_pairs).values()) / max(1, sum(pairs.values()))
            ligatures = sum(1 for it in text if "\ufb00" <= it <= "\ufb06")
            row["ligatures"] = 10_000 * ligatures / max(1, len(got))
            if cut:
                there = collections.Counter(got)
                wanted = collections.Counter(cut)
                row["hyphens"] = sum((wanted & there).values()) / len(cut)
            lines = collections.Counter(line.strip() for line in text.split("\n"))
            long = {line: count for line, count in furniture.items() if len(line) > 3}
            if sum(long.values()) >= 3:
                left = sum(min(count, lines[line]) for line, count in long.items())
                row["furniture"] = left / sum(long.values())
    for name in commands:
        of = [row for row in rows if row["reader"] == name]
        mean = lambda key: sum(it[key] for it in of if key in it) / max(
            1, sum(key in it for it in of)
        )
        low = sorted(it["f1"] for it in of if "f1" in it)
        print(
            f"{name}: files {len(of)}, F1 {mean('f1'):.4f} (lowest {low[0]:.3f}, median "
            f"{low[len(low) // 2]:.4f}), order {mean('order'):.4f}, ligatures "
            f"{mean('ligatures'):.1f}, hyphens {100 * mean('hyphens'):.1f}%, furniture "
            f"{100 * mean('furniture'):.1f}%, failed {sum('failed' in it for it in of)}, "
            f"CPU {sum(it['seconds'] for it in of):.1f} s"
        )
    if report:
        Path(report).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
