"""CTranslate2 behind HTTP as one would write it for many clients: what waits is one batch.

    python translator_server.py MODEL PORT TRANSLATORS THREADS BATCH

As soon as one of the translators is free, it is given as many of the waiting texts as make a batch,
with the same parameters. asyncio, no library: the server costs little beside the model.
"""

import asyncio
import json
import sys

import ctranslate2



def translate(translator, texts, parameters):
    results = translator.translate_batch(
        [text.split() for text in texts],
        beam_size=parameters["num_beams"],
        min_decoding_length=parameters["min_new_tokens"],
        max_decoding_length=parameters["max_new_tokens"],
        length_penalty=parameters["length_penalty"],
    )
    return [" ".join(result.hypotheses[0]) for result in results]


async def work(translator, batch, waiting, ready):
    while True:
        await ready.acquire()
        if not waiting:
            continue
        parameters = waiting[0][1]
        chosen = [one for one in waiting if one[1] == parameters][:batch]
        for one in chosen:
            waiting.remove(one)
        texts = [text for text, _, _ in chosen]
        summaries = await asyncio.to_thread(translate, translator, texts, parameters)
        for (_, _, answer), summary in zip(chosen, summaries):
            answer.set_result(summary)


async def serve(reader, writer, waiting, ready):
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode().lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            answer = b"{}"
            if lines[0].startswith("post"):
                asked = json.loads(body)
                summary = asyncio.get_running_loop().create_future()
                waiting.append((asked["inputs"], asked["parameters"], summary))
                ready.release()
                answer = json.dumps([{"generated_text": await summary}]).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
    except asyncio.IncompleteReadError:
        writer.close()


async def main():
    folder, port, translators, threads, batch = sys.argv[1], *map(int, sys.argv[2:])
    translator = ctranslate2.Translator(
        folder,
        device="cpu",
        compute_type="int8",
        inter_threads=translators,
        intra_threads=threads,
    )
    waiting, ready = [], asyncio.Semaphore(0)
    workers = [work(translator, batch, waiting, ready) for _ in range(translators)]
    server = await asyncio.start_server(
        lambda reader, writer: serve(reader, writer, waiting, ready), "127.0.0.1", port
    )
    await asyncio.gather(server.serve_forever(), *workers)


asyncio.run(main())
