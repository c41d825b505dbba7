"""A server as people write it by hand: FastAPI around a model, one request at a time.

    python stock_server.py transformers|ctranslate2 MODEL PORT THREADS

The handler is a plain function, so that FastAPI runs it on its thread pool; a lock keeps requests
from sharing the threads of one generation, as the stock container's single worker does.
"""

import json
import pathlib
import sys
import threading
import time

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

engine, folder, port, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
lock = threading.Lock()
app = FastAPI()


class Body(BaseModel):
    inputs: str
    parameters: dict = {}


def with_transformers():
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()

    def summarize(text, parameters):
        inputs = tokenizer(text, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(
                inputs.input_ids, attention_mask=inputs.attention_mask, **parameters
            )
        return tokenizer.decode(output[0], skip_special_tokens=True)

    return summarize


def with_ctranslate2():
    import ctranslate2
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = json.loads(pathlib.Path(folder, "config.json").read_text())
    converted = f"{folder}/ct2"
    ctranslate2.converters.TransformersConverter(folder).convert(converted, force=True)
    translator = ctranslate2.Translator(converted, intra_threads=threads)

    def summarize(text, parameters):
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(text, truncation=True).input_ids)
        result = translator.translate_batch(
            [tokens],
            beam_size=parameters.get("num_beams", config["num_beams"]),
            length_penalty=parameters.get("length_penalty", config["length_penalty"]),
            max_decoding_length=config["max_length"] - 1,
        )
        ids = tokenizer.convert_tokens_to_ids(result[0].hypotheses[0])
        return tokenizer.decode(ids, skip_special_tokens=True)

    return summarize


summarize = with_transformers() if engine == "transformers" else with_ctranslate2()


@app.get("/ping")
def ping():
    return {"time": time.time()}


@app.post("/invocations")
def invocations(body: Body):
    with lock:
        return [{"generated_text": summarize(body.inputs, body.parameters)}]


uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
