"""A model of true shape in epitome and its peers, in one run: what a decoder step costs.

    python compare.py CHECKPOINT BUNDLE [--beams 1 4 8] [--source 512] [--tokens 24] [--rounds 3] [--threads 1]

CHECKPOINT is a HuggingFace folder (fixtures/make_large.py makes a random one of pegasus-large's shape), BUNDLE what
`epitome export` made of it. Every engine gets the same source tokens and must generate exactly --tokens tokens, so that
the time of a step does not depend on what the model says. Engines take turns, round after round, so that a machine that
slows down slows all of them; the medians are compared. Weights are fp32 everywhere.

A step is the time of a generation of --tokens tokens less that of one of 2 tokens, over the difference in steps: the
search is in it, the encoder is not. (epitome reports its decoding apart from its encoder, so there the difference is
taken of the decoding alone.) Prints a table and writes it as JSON where --json says.
"""
import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

SHORT = 2


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--epitome", default="target/release/epitome")
    parser.add_argument("--beams", type=int, nargs="+", default=[4])
    parser.add_argument("--source", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--converted", type=Path, help="folder of the CTranslate2 model [default: beside the bundle]")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


class Epitome:
    """The command itself, with the time it reports for decoding."""

    def __init__(self, options, text):
        self.options, self.text = options, text
        self.name = "epitome"

    def generate(self, beams, tokens):
        parameters = {"num_beams": beams, "min_new_tokens": tokens, "max_new_tokens": tokens,
                      "no_repeat_ngram_size": 0, "early_stopping": False}
        # The same setting twice: the peers stay loaded and warm, so the second time counts here too.
        command = [self.options.epitome, "summarize", "--model", self.options.bundle, "--format", "json",
                   "--length-penalty", "1.0,1.0", "--threads", str(self.options.threads),
                   "--parameters", json.dumps(parameters)]
        output = subprocess.run(command, input=self.text, capture_output=True, text=True, check=True).stdout
        line = json.loads(output.splitlines()[-1])
        assert line["input_tokens"] == self.options.source, line["input_tokens"]
        return line["seconds"]["decode"], line["steps"], line["seconds"]["encode"]


class CTranslate2:
    def __init__(self, options, pieces):
        import ctranslate2

        folder = options.converted or options.bundle.with_name(options.bundle.name + "-ctranslate2")
        if not folder.is_dir():
            converter = ctranslate2.converters.TransformersConverter(str(options.checkpoint))
            converter.convert(str(folder), quantization="float32")
        self.translator = ctranslate2.Translator(
            str(folder), device="cpu", compute_type="float32", inter_threads=1, intra_threads=options.threads)
        self.pieces, self.name = pieces, f"CTranslate2 {ctranslate2.__version__}"

    def generate(self, beams, tokens):
        start = time.perf_counter()
        self.translator.translate_batch([self.pieces], beam_size=beams, min_decoding_length=tokens,
                                        max_decoding_length=tokens, length_penalty=1.0)
        return time.perf_counter() - start, tokens, 0.0


class Transformers:
    def __init__(self, options, ids):
        import torch
        import transformers

        torch.set_num_threads(options.threads)
        self.torch, self.ids = torch, torch.tensor([ids])
        self.model = transformers.AutoModelForSeq2SeqLM.from_pretrained(
            options.checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
        self.name = f"transformers {transformers.__version__} (torch {torch.__version__.split('+')[0]}, eager)"

    def generate(self, beams, tokens):
        start = time.perf_counter()
        with self.torch.inference_mode():
            self.model.generate(self.ids, num_beams=beams, min_new_tokens=tokens, max_new_tokens=tokens,
                                length_penalty=1.0, no_repeat_ngram_size=0, early_stopping=False, do_sample=False)
        return time.perf_counter() - start, tokens, 0.0


def source(options):
    """A text of exactly --source tokens, its token ids and its pieces."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(options.checkpoint / "tokenizer.json"))
    tokenizer.no_truncation()
    words, text = "the tool shows values of sensors in one window and keeps a graph of any day on disk".split(), ""
    count = 0
    while True:
        longer = f"{text} {words[count % len(words)]}".strip()
        encoding = tokenizer.encode(longer)
        if len(encoding.ids) > options.source:
            # Fill what a whole word would overshoot with single letters.
            longer = f"{text} a".strip()
            encoding = tokenizer.encode(longer)
            if len(encoding.ids) > options.source:
                sys.exit(f"no text of exactly {options.source} tokens was found")
        text, count = longer, count + 1
        if len(encoding.ids) == options.source:
            return text, encoding.ids, encoding.tokens


def main():
    options = arguments()
    text, ids, pieces = source(options)
    engines = [Epitome(options, text), CTranslate2(options, pieces), Transformers(options, ids)]
    rows = []
    for beams in options.beams:
        steps = {engine.name: [] for engine in engines}
        firsts = {engine.name: [] for engine in engines}
        for _ in range(options.rounds):
            for engine in engines:
                short, few, encoder = engine.generate(beams, SHORT)
                whole, many, _ = engine.generate(beams, options.tokens)
                steps[engine.name].append((whole - short) / (many - few) * 1e3)
                firsts[engine.name].append(short + encoder)
        ours = statistics.median(steps[engines[0].name])
        for engine in engines:
            median = statistics.median(steps[engine.name])
            rows.append({"beams": beams, "engine": engine.name, "step_ms": round(median, 1),
                         "times_ours": round(median / ours, 2),
                         "all_ms": [round(value, 1) for value in steps[engine.name]],
                         "encode_and_two_steps_s": round(statistics.median(firsts[engine.name]), 2)})
    print(f"source {options.source} tokens, {options.tokens} generated, {options.threads} thread(s), fp32, "
          f"medians of {options.rounds} interleaved rounds, {platform.processor() or platform.machine()}")
    for row in rows:
        print("{beams:>2} beams  {step_ms:>8.1f} ms a step  {times_ours:>5.2f} x ours  "
              "{encode_and_two_steps_s:>6.2f} s encoder and two steps  {engine}".format(**row))
    if options.json:
        options.json.write_text(json.dumps({"options": {key: str(value) for key, value in vars(options).items()},
                                            "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
