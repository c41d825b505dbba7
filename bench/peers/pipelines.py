"""Compares the Python packages of epitome, CTranslate2 and optimum: texts in, summaries out, int8.

    python pipelines.py                                   # the trained model of fixtures/
    python pipelines.py --model distilbart-cnn-12-6 --documents 16
    python pipelines.py --optimum-python target/peers/optimum/bin/python

The Python that runs it needs `epitome-onnx` beside bench/peers/requirements.txt. optimum-onnx needs
a transformers of version 4, so that it has a Python of its own (requirements-optimum.txt).

Every package gets the same documents, 1 and 16 at a time, 4 beams, --threads threads, and does
everything from text to text, its tokenizer included. The models with the shape of a well-known one
have random weights: their documents have 512 tokens, and their summaries exactly 48. The packages
take turns, round after round; the figures are medians of documents a second.
"""

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import models

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parents[1] / "fixtures"
BEAMS = 4
SOURCE, TOKENS = 512, 48


class Epitome:
    def __init__(self, options):
        from epitome_onnx import export, pipeline

        bundle = options.work / options.model / "epitome-int8-python"
        if not bundle.is_dir():
            export(options.checkpoint, bundle, precision="int8")
        self.pipe = pipeline("summarization", bundle, threads=options.threads)
        self.parameters = dict(num_beams=BEAMS, **options.lengths)

    def summarize(self, texts, batch):
        return self.pipe(texts, batch_size=batch, **self.parameters)


class CTranslate2:
    def __init__(self, options):
        import ctranslate2
        import transformers

        folder = options.work / options.model / "ctranslate2-int8"
        if not folder.is_dir():
            with models.Beside(folder) as partial:
                converter = ctranslate2.converters.TransformersConverter(str(options.checkpoint))
                converter.convert(str(partial), quantization="int8", force=True)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(options.checkpoint)
        self.translator = ctranslate2.Translator(
            str(folder), device="cpu", compute_type="int8", intra_threads=options.threads
        )
        names = dict(min_length="min_decoding_length", max_length="max_decoding_length")
        self.lengths = {names[name]: value - 1 for name, value in options.lengths.items()}

    def summarize(self, texts, batch):
        limit = min(SOURCE, self.tokenizer.model_max_length)
        sources = self.tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        words = [self.tokenizer.convert_ids_to_tokens(source) for source in sources]
        results = self.translator.translate_batch(
            words, max_batch_size=batch, beam_size=BEAMS, **self.lengths
        )
        ids = [self.tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)


class Optimum:
    def __init__(self, options):
        import onnxruntime
        import transformers
        from optimum.onnxruntime import ORTModelForSeq2SeqLM, ORTQuantizer
        from optimum.onnxruntime.configuration import AutoQuantizationConfig

        folder = options.work / options.model / "optimum-int8"
        if not folder.is_dir():
            whole = folder.with_name("optimum-fp32")
            model = ORTModelForSeq2SeqLM.from_pretrained(options.checkpoint, export=True)
            model.save_pretrained(whole)
            dynamic = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
            with models.Beside(folder) as partial:
                model.config.save_pretrained(partial)
                model.generation_config.save_pretrained(partial)
                for part in sorted(whole.glob("*.onnx")):
                    quantizer = ORTQuantizer.from_pretrained(whole, file_name=part.name)
                    quantizer.quantize(save_dir=partial, quantization_config=dynamic)
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = options.threads
        model = ORTModelForSeq2SeqLM.from_pretrained(
            folder,
            session_options=session,
            encoder_file_name="encoder_model_quantized.onnx",
            decoder_file_name="decoder_model_quantized.onnx",
            decoder_with_past_file_name="decoder_with_past_model_quantized.onnx",
            use_merged=False,
        )
        # AutoTokenizer of version 4 does not know the class name of version 5.
        is_trained = options.model == "trained"
        auto, fast = transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast
        tokenizer = (auto if is_trained else fast).from_pretrained(options.checkpoint)
        self.pipe = transformers.pipeline("summarization", model=model, tokenizer=tokenizer)
        # The pipeline has a default max_new_tokens, which would take precedence over max_length.
        names = dict(min_length="min_new_tokens", max_length="max_new_tokens")
        lengths = options.lengths or dict(max_length=model.generation_config.max_length)
        new = {names[name]: value - 1 for name, value in lengths.items()}
        self.parameters = dict(num_beams=BEAMS, truncation=True, **new)

    def summarize(self, texts, batch):
        return self.pipe(texts, batch_size=batch, **self.parameters)


PACKAGES = {"epitome": Epitome, "ctranslate2": CTranslate2, "optimum": Optimum}


class Worker:
    """A process with one of the packages."""

    def __init__(self, name, options):
        python = options.optimum_python if name == "optimum" else sys.executable
        command = [python, __file__, "--worker", name, "--model", options.model]
        command += ["--work", options.work, "--threads", options.threads]
        command += ["--documents", options.documents]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()

    def ask(self, batch):
        print(batch, file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(self.process.args)} ended with status {self.process.wait()}")
        return json.loads(line)


def work(options):
    """Prints the seconds for each batch size that it reads."""
    answers, sys.stdout = sys.stdout, sys.stderr
    package = PACKAGES[options.worker](options)
    texts = documents(options)
    package.summarize(texts[:1], 1)
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        summaries = package.summarize(texts, int(line))
        seconds = time.perf_counter() - begun
        assert len(summaries) == len(texts)
        print(json.dumps(seconds), file=answers, flush=True)


def checkpoint(options):
    if options.model != "trained":
        return models.checkpoint(options.model, options.work)
    folder = options.work / "trained" / "hf"
    if not folder.is_dir():
        with models.Beside(folder) as partial, tarfile.open(
            FIXTURES / "pegasus-debian.tar.gz"
        ) as archive:
            archive.extractall(partial, filter="data")
    return folder


def documents(options):
    if options.model != "trained":
        rng = random.Random(1)
        words = models.words(options.checkpoint)[8:]
        lines = [rng.choices(words, k=SOURCE - 1) for _ in range(options.documents)]
        return [" ".join(line) for line in lines]
    with (FIXTURES / "summaries" / "validation-1000.csv").open(newline="") as file:
        return [row["text"] for row in csv.DictReader(file)][: options.documents]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=["trained", *models.SHAPES], default="trained")
    parser.add_argument("--documents", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("target/peers/models"))
    parser.add_argument("--optimum-python", type=Path, help="without one, optimum is left out")
    parser.add_argument("--worker", choices=PACKAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.checkpoint = checkpoint(options)
    fixed = dict(min_length=TOKENS + 1, max_length=TOKENS + 1)
    options.lengths = {} if options.model == "trained" else fixed
    if options.worker:
        return work(options)
    names = [name for name in PACKAGES if name != "optimum" or options.optimum_python]
    workers = {name: Worker(name, options) for name in names}
    seconds = {}
    for _ in range(options.rounds):
        for batch in (1, 16):
            for name, worker in workers.items():
                seconds.setdefault((name, batch), []).append(worker.ask(batch))
    for (name, batch), times in sorted(seconds.items()):
        rate = options.documents / statistics.median(times)
        print(f"{name}, {batch} at a time: {rate:.2f} documents/s (of {len(times)} rounds)")


if __name__ == "__main__":
    main()
