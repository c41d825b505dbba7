"""Table, CSV and plot of what compare.py measured."""

import csv
import os
import platform
import statistics
from collections import defaultdict
from importlib import metadata
from pathlib import Path

from models import SHAPES

BYTES = {"fp32": 4, "int8": 1}
CONFIGURATION = ("model", "threads", "batch", "source", "beams", "tokens")
LABELS = {
    "epitome": "epitome",
    "ctranslate2": "CTranslate2",
    "transformers": "transformers",
    "optimum": "optimum-onnx",
}
# Number of tokens of the short generation, from which the time of a step is computed.
SHORT = 2


def median(values):
    return statistics.median(values) if values else None


def summarize(rows):
    """Medians over the rounds: speed by configuration and engine, loading by model and engine."""
    speed, load = defaultdict(list), defaultdict(list)
    for row in rows:
        engine = (row.get("engine"), row.get("precision"))
        if row["what"] == "speed":
            speed[tuple(row[name] for name in CONFIGURATION), engine].append(row)
        elif row["what"] == "load":
            load[(row["model"], row["threads"]), engine].append(row)
    return {key: times(group) for key, group in speed.items()}, {
        key: loading(group) for key, group in load.items()
    }


def times(group):
    steps = [(row["whole"] - row["short"]) / (row["tokens"] - SHORT) for row in group]
    encoders = [row["short"] - SHORT * step for row, step in zip(group, steps)]
    return dict(
        encoder_ms=1e3 * median(encoders),
        step_ms=1e3 * median(steps),
        summary_ms=1e3 * median([row["whole"] for row in group]),
        rounds=len(group),
        name=group[0]["name"],
    )


def loading(group):
    fields = ("load", "first_token", "from_start", "peak_resident")
    return dict(
        {name: median([row[name] for row in group]) for name in fields},
        rounds=len(group),
        name=group[0]["name"],
    )


def floors(configuration, precision, limits):
    """The shortest possible times of encoder and step: weights to read and operations to make, at
    the machine's best. In int8 attention multiplies 16 bits at least, half as many as bytes."""
    model, threads, batch, source, beams, _ = configuration
    if threads not in limits:
        return None, None
    shape, limit = SHAPES[model], limits[threads]
    weights, attention = shape.encoder_operations(source)
    linear = pairs = limit["fp32_per_second"]
    if precision == "int8":
        linear = limit["int8_per_second"]
        if linear is None:
            return None, None
        pairs = max(pairs, linear / 2)
    encoder = batch * (weights / linear + attention / pairs)
    # The encoder's own result is read too: keys and values of cross-attention, in fp32, or in int8
    # with a scale in fp32 for each head.
    position = 4 * shape.inner if precision == "fp32" else shape.inner + 4 * shape.heads
    cached = batch * 2 * shape.decoder_layers * source * position
    weights = shape.step_weights() * BYTES[precision]
    step = (weights + cached) / limit["bytes_per_second"]
    return 1e3 * encoder, 1e3 * step


def number(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(theirs, ours):
    return "" if theirs is None or ours is None else f"{theirs / ours:.2f}x"


def peers_of(precision, keys):
    """The engines to compare with: those of the same precision, and those that have only fp32."""
    others = {engine for engine in keys if engine[0] != "epitome"}
    return sorted(
        engine
        for engine in others
        if engine[1] == precision or engine[0] in ("transformers", "optimum")
    )


def label(engine, precision):
    name, own = engine
    return LABELS[name] if own == precision else f"{LABELS[name]} {own}"


def table(rows, versions):
    speed, load = summarize(rows)
    limits = {row["threads"]: row for row in rows if row["what"] == "roofline"}
    out = ["# epitome and its peers", "", versions, ""]
    for threads, limit in sorted(limits.items()):
        operations = f"{limit['fp32_per_second'] / 1e9:.0f} G fp32"
        if limit["int8_per_second"]:
            operations += f" and {limit['int8_per_second'] / 1e9:.0f} G int8"
        out.append(
            f"- {threads} thread(s): {limit['bytes_per_second'] / 1e9:.1f} GB/s read, "
            f"{operations} operations/s"
        )
    out += [
        "",
        "Medians. In brackets, how many times epitome's time another engine takes. `floor` is the "
        "time that the machine's memory (step) or arithmetic (encoder) needs at least.",
        "",
    ]
    groups = sorted({(key[0][0], key[0][1], key[1][1]) for key in speed if key[1][0] == "epitome"})
    for model, threads, precision in groups:
        configurations = sorted({key[0] for key in speed if key[0][:2] == (model, threads)})
        peers = peers_of(precision, {key[1] for key in speed if key[0][:2] == (model, threads)})
        out += [
            f"## {model}, {precision}, {threads} thread(s)",
            "",
            "| batch | source | beams | | floor | epitome | "
            + " | ".join(label(peer, precision) for peer in peers)
            + " |",
            "| --- | --- | --- | --- | --- | --- |" + " --- |" * len(peers),
        ]
        for configuration in configurations:
            ours = speed.get((configuration, ("epitome", precision)))
            if ours is None:
                continue
            _, _, batch, source, beams, tokens = configuration
            encoder, step = floors(configuration, precision, limits)
            for name, field, floor in (
                ("encoder, ms", "encoder_ms", encoder),
                ("step, ms", "step_ms", step),
                (f"summary of {tokens}, ms", "summary_ms", None),
            ):
                cells = []
                for peer in peers:
                    theirs = speed.get((configuration, peer), {}).get(field)
                    cells.append(
                        f"{number(theirs)} ({ratio(theirs, ours[field])})"
                        if theirs is not None
                        else ""
                    )
                out.append(
                    f"| {batch} | {source} | {beams} | {name} | {number(floor)} "
                    f"| {number(ours[field])} | " + " | ".join(cells) + " |"
                )
        out.append("")
    out += memory_table(rows) + load_table(load)
    return "\n".join(out) + "\n"


def memory_table(rows):
    memory = {
        tuple(row[name] for name in ("model", "threads", "source", "engine", "precision")): row
        for row in rows
        if row["what"] == "memory"
    }
    if not memory:
        return []
    out = [
        "## Memory by source",
        "",
        "| model | threads | source | engine | beams | tokens | peak resident, MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (model, threads, source, engine, precision), row in sorted(memory.items()):
        out.append(
            f"| {model} | {threads} | {source} | {LABELS[engine]} {precision} | {row['beams']} | "
            f"{row['tokens']} | {row['peak_resident'] / 1e6:.0f} |"
        )
    return out + [""]


def load_table(load):
    if not load:
        return []
    out = [
        "## Loading and memory",
        "",
        "| model | threads | engine | load to first token, s | with the process's start and "
        "imports, s | peak resident, MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for ((model, threads), engine), row in sorted(load.items()):
        out.append(
            f"| {model} | {threads} | {LABELS[engine[0]]} {engine[1]} | {row['first_token']:.2f} | "
            f"{row['from_start']:.2f} | {row['peak_resident'] / 1e6:.0f} |"
        )
    return out + [""]


def write_csv(path, rows):
    speed, load = summarize(rows)
    fields = [
        "what",
        *CONFIGURATION,
        "engine",
        "precision",
        "rounds",
        "encoder_ms",
        "step_ms",
        "summary_ms",
        "load",
        "first_token",
        "from_start",
        "peak_resident",
        "name",
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        for (configuration, (engine, precision)), figures in sorted(speed.items()):
            writer.writerow(
                dict(
                    zip(CONFIGURATION, configuration),
                    what="speed",
                    engine=engine,
                    precision=precision,
                    **figures,
                )
            )
        for ((model, threads), (engine, precision)), figures in sorted(load.items()):
            writer.writerow(
                dict(
                    what="load",
                    model=model,
                    threads=threads,
                    engine=engine,
                    precision=precision,
                    **figures,
                )
            )


def plot(path, rows):
    """Time of a step by beams, with a panel for each model, source and thread count."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no plot is drawn")
        return
    speed, _ = summarize(rows)
    limits = {row["threads"]: row for row in rows if row["what"] == "roofline"}
    panels = sorted({(key[0][0], key[0][1], key[0][2], key[0][3]) for key in speed})
    if not panels:
        return
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(5 * columns, 3.4 * lines), layout="constrained")
    colours = {
        "epitome": "tab:blue",
        "ctranslate2": "tab:orange",
        "transformers": "tab:green",
        "optimum": "tab:red",
    }
    for place, panel in enumerate(panels, 1):
        axes = figure.add_subplot(lines, columns, place)
        own = {
            key: figures
            for key, figures in speed.items()
            if (key[0][0], key[0][1], key[0][2], key[0][3]) == panel
        }
        for engine in sorted({key[1] for key in own}):
            points = sorted(
                (key[0][4], figures["step_ms"]) for key, figures in own.items() if key[1] == engine
            )
            style = "--" if engine[1] == "fp32" else "-"
            axes.plot(
                *zip(*points),
                style,
                marker="o",
                color=colours[engine[0]],
                label=f"{LABELS[engine[0]]} {engine[1]}",
            )
        for precision in sorted({key[1][1] for key in own if key[1][0] == "epitome"}):
            _, step = floors(next(iter(own))[0], precision, limits)
            if step is not None:
                axes.axhline(
                    step, color="0.6", linestyle="--" if precision == "fp32" else "-", linewidth=1
                )
        model, threads, batch, source = panel
        axes.set_title(f"{model}: source {source}, batch {batch}, {threads} thread(s)", fontsize=9)
        axes.set_xlabel("beams")
        axes.set_ylabel("ms a decoder step")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=7)
    figure.savefig(path)


def versions():
    def cpu():
        lines = (
            Path("/proc/cpuinfo").read_text().splitlines()
            if Path("/proc/cpuinfo").is_file()
            else []
        )
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else platform.processor()

    packages = []
    for name in ("ctranslate2", "transformers", "torch", "onnxruntime"):
        try:
            packages.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            pass
    system = f"{platform.system()} {platform.release()}"
    return f"{cpu()}, {os.cpu_count()} cores, {system}; {', '.join(packages)}"


def write(rows, options):
    text = table(rows, versions())
    (options.output / "table.md").write_text(text)
    write_csv(options.output / "results.csv", rows)
    plot(options.output / "step.svg", rows)
    print(text)
