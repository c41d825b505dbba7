"""Another engine for compare.py. Reads and writes a JSON object a line, as `epitome-bench worker`.

    python worker.py ENGINE --model DIR --checkpoint DIR --precision P --threads N

Loading is timed without Python's imports, which are done before the first line is written.
"""

import argparse
import json
import sys
import time
from pathlib import Path


class CTranslate2:
    def __init__(self, options):
        import ctranslate2
        import models

        self.library, self.options = ctranslate2, options
        self.words = models.words(options.checkpoint)
        self.name = f"CTranslate2 {ctranslate2.__version__}"

    def load(self):
        compute_type = {"fp32": "float32"}.get(self.options.precision, self.options.precision)
        self.translator = self.library.Translator(
            str(self.options.model),
            device="cpu",
            compute_type=compute_type,
            inter_threads=1,
            intra_threads=self.options.threads,
        )

    def generate(self, ids, beams, tokens):
        sources = [[self.words[token] for token in source] for source in ids]
        start = time.perf_counter()
        results = self.translator.translate_batch(
            sources,
            beam_size=beams,
            min_decoding_length=tokens,
            max_decoding_length=tokens,
            length_penalty=1.0,
        )
        seconds = time.perf_counter() - start
        return seconds, len(results[0].hypotheses[0])


class Transformers:
    def __init__(self, options):
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        torch.set_num_threads(options.threads)
        self.torch, self.library, self.options = torch, transformers, options
        version = torch.__version__.split("+")[0]
        self.name = f"transformers {transformers.__version__} (torch {version}, eager)"

    def load(self):
        self.model = self.library.AutoModelForSeq2SeqLM.from_pretrained(
            self.options.model, dtype=self.torch.float32, attn_implementation="eager"
        ).eval()

    def generate(self, ids, beams, tokens):
        sources = self.torch.tensor(ids)
        inputs = dict(attention_mask=self.torch.ones_like(sources))
        if self.model.config.model_type == "led":
            # The first token has global attention, as recommended for summaries and as in epitome.
            inputs["global_attention_mask"] = self.torch.zeros_like(sources)
            inputs["global_attention_mask"][:, 0] = 1
        start = time.perf_counter()
        with self.torch.inference_mode():
            made = self.model.generate(
                sources,
                **inputs,
                num_beams=beams,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                length_penalty=1.0,
                early_stopping=False,
                do_sample=False,
            )
        return time.perf_counter() - start, made.shape[1] - 1


class Optimum(Transformers):
    """optimum-onnx's export, run by ONNX Runtime."""

    def __init__(self, options):
        super().__init__(options)
        import onnxruntime
        import optimum.onnxruntime

        self.ort, self.optimum = onnxruntime, optimum.onnxruntime
        self.name = f"optimum-onnx (onnxruntime {onnxruntime.__version__})"

    def load(self):
        session = self.ort.SessionOptions()
        session.intra_op_num_threads = self.options.threads
        self.model = self.optimum.ORTModelForSeq2SeqLM.from_pretrained(
            self.options.model, session_options=session
        )


ENGINES = {"ctranslate2": CTranslate2, "transformers": Transformers, "optimum": Optimum}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    # Keeps output of the libraries out of the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    engine = ENGINES[options.engine](options)

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    answer(engine=engine.name)
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "load":
            start = time.perf_counter()
            engine.load()
            answer(seconds=time.perf_counter() - start)
        else:
            seconds, steps = engine.generate(request["ids"], request["beams"], request["tokens"])
            answer(seconds=seconds, steps=steps)


if __name__ == "__main__":
    main()
