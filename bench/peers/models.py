"""Models of a stated shape with random weights, in the form that each engine reads.

Each model has a folder that is made once and kept: `hf` is the checkpoint, `ctranslate2-*` the
output of CTranslate2's converter, `epitome-*` that of `epitome export`. Speed and memory depend on
a model's shape, not on the values of its weights. The tokenizer is a list of words, one for each
token id: the engines get ids, and CTranslate2 needs their words.
"""

import json
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """The sizes that speed depends on, and further fields of a configuration."""

    model_type: str
    vocab: int
    encoder_layers: int
    decoder_layers: int
    hidden: int
    ffn: int
    heads: int
    activation: str
    pad: int
    eos: int
    start: int
    # Window of local attention to either side, and the number of tokens in a block of global
    # attention.
    reach: int | None = None
    global_block: int | None = None
    # Number of tokens with global attention.
    global_tokens: int = 0
    head: int = 64
    kv_heads: int | None = None
    # Number of experts in a layer, every how many layers, and number of experts of a token.
    experts: int = 1
    sparse_step: int = 1
    choices: int = 1

    @property
    def known_to_ctranslate2(self):
        return self.model_type in ("bart", "pegasus", "t5")

    @property
    def inner(self):
        """Size of the queries of a token."""
        return self.heads * self.head

    @property
    def kv_inner(self):
        """Size of the keys, or values, of a token."""
        return (self.kv_heads or self.heads) * self.head

    def layer_weights(self, layers, choices):
        """Number of weights of `layers` layers without cross-attention, with `choices` experts."""
        attention = 2 * self.hidden * (self.inner + self.kv_inner)
        gated = self.activation.startswith("gated") or self.model_type == "t5gemma2"
        expert = (3 if gated else 2) * self.hidden * self.ffn
        sparse = layers // self.sparse_step
        return layers * attention + (layers - sparse + sparse * choices) * expert

    def step_weights(self):
        """Smallest number of weights that a decoder step reads, if all rows have the same experts.
        Excludes the layers that compute cross-attention's keys and values: they belong to the
        encoder."""
        merged = self.model_type == "t5gemma2"  # cross-attention has no weights of its own
        cross_attention = 0 if merged else 2 * self.hidden * self.inner
        return (
            self.layer_weights(self.decoder_layers, self.choices)
            + self.decoder_layers * cross_attention
            + self.vocab * self.hidden
        )

    def encoder_operations(self, source):
        """Multiplications and additions of the encoder and of cross-attention's keys and values,
        those of weights and those of attention."""
        weights = self.layer_weights(self.encoder_layers, self.choices)
        weights += self.decoder_layers * 2 * self.hidden * self.kv_inner
        seen = source if self.reach is None else min(source, 2 * self.reach + 1)
        seen += self.global_tokens
        seen += source // self.global_block if self.global_block else 0
        return 2 * weights * source, 4 * self.encoder_layers * source * seen * self.inner

    def config(self):
        common = dict(
            model_type=self.model_type,
            vocab_size=self.vocab,
            pad_token_id=self.pad,
            eos_token_id=self.eos,
            decoder_start_token_id=self.start,
        )
        if self.model_type == "encoder-decoder":
            side = dict(
                model_type="bert",
                vocab_size=self.vocab,
                hidden_size=self.hidden,
                num_attention_heads=self.heads,
                intermediate_size=self.ffn,
                hidden_act=self.activation,
                max_position_embeddings=1024,
                pad_token_id=self.pad,
            )
            return dict(
                common,
                encoder=dict(side, num_hidden_layers=self.encoder_layers),
                decoder=dict(
                    side,
                    num_hidden_layers=self.decoder_layers,
                    is_decoder=True,
                    add_cross_attention=True,
                ),
            )
        if self.model_type == "t5gemma2":
            side = dict(
                vocab_size=self.vocab,
                hidden_size=self.hidden,
                num_attention_heads=self.heads,
                num_key_value_heads=self.kv_heads,
                head_dim=self.head,
                intermediate_size=self.ffn,
                hidden_activation=self.activation,
                sliding_window=512,
            )
            vision = dict(
                model_type="siglip_vision_model",
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=1,
                image_size=8,
                patch_size=4,
            )
            text = dict(side, num_hidden_layers=self.encoder_layers)
            return dict(
                common,
                encoder=dict(text_config=text, vision_config=vision, mm_tokens_per_image=4),
                decoder=dict(side, num_hidden_layers=self.decoder_layers),
            )
        if self.model_type == "prophetnet":
            return dict(
                common,
                hidden_size=self.hidden,
                activation_function=self.activation,
                num_encoder_layers=self.encoder_layers,
                num_decoder_layers=self.decoder_layers,
                encoder_ffn_dim=self.ffn,
                decoder_ffn_dim=self.ffn,
                num_encoder_attention_heads=self.heads,
                num_decoder_attention_heads=self.heads,
                max_position_embeddings=1024,
            )
        if self.model_type in ("t5", "longt5", "switch_transformers"):
            attention = "transient-global" if self.global_block else "local"
            long = dict(
                local_radius=self.reach,
                global_block_size=self.global_block or 16,
                encoder_attention_type=attention,
            )
            experts = dict(
                num_experts=self.experts,
                num_sparse_encoder_layers=self.encoder_layers // self.sparse_step,
                num_sparse_decoder_layers=self.decoder_layers // self.sparse_step,
            )
            return dict(
                common,
                **(long if self.model_type == "longt5" else {}),
                **(experts if self.model_type == "switch_transformers" else {}),
                d_model=self.hidden,
                d_kv=64,
                d_ff=self.ffn,
                num_heads=self.heads,
                tie_word_embeddings=self.model_type != "longt5",
                num_layers=self.encoder_layers,
                num_decoder_layers=self.decoder_layers,
                feed_forward_proj=self.activation,
            )
        window = 2 * (self.reach or 0)
        more = {
            "led": dict(
                attention_window=window,
                max_encoder_position_embeddings=16384,
                max_decoder_position_embeddings=1024,
            ),
            "pegasus_x": dict(
                block_size=window,
                num_global_tokens=self.global_tokens,
                max_position_embeddings=16384,
            ),
            # A token sees eight blocks: three around it, the first, the last, three at random.
            "bigbird_pegasus": dict(block_size=window // 8, max_position_embeddings=4096),
            "nllb-moe": dict(
                num_experts=self.experts,
                encoder_sparse_step=self.sparse_step,
                decoder_sparse_step=self.sparse_step,
            ),
        }
        return dict(
            common,
            d_model=self.hidden,
            activation_function=self.activation,
            bos_token_id=0,
            encoder_layers=self.encoder_layers,
            decoder_layers=self.decoder_layers,
            encoder_ffn_dim=self.ffn,
            decoder_ffn_dim=self.ffn,
            encoder_attention_heads=self.heads,
            decoder_attention_heads=self.heads,
            max_position_embeddings=1024,
            forced_eos_token_id=None,
            forced_bos_token_id=None,
            scale_embedding="pegasus" in self.model_type,
            # The value of the published checkpoints, which CTranslate2's converter needs.
            normalize_before=self.model_type == "pegasus",
            normalize_embedding=self.model_type != "pegasus",
        ) | more.get(self.model_type, {})


SHAPES = {
    "distilbart-cnn-12-6": Shape(
        "bart", 50264, 12, 6, 1024, 4096, 16, "gelu", pad=1, eos=2, start=2
    ),
    "pegasus-large": Shape("pegasus", 96103, 16, 16, 1024, 4096, 16, "relu", pad=0, eos=1, start=0),
    # Two of BERT's base size; CTranslate2 knows no such model.
    "bert2bert-base": Shape(
        "encoder-decoder", 30522, 12, 12, 768, 3072, 12, "gelu", pad=0, eos=102, start=101
    ),
    # CTranslate2 knows no such model.
    "t5gemma-2-270m-270m": Shape(
        "t5gemma2", 262144, 18, 18, 640, 2048, 4, "gelu_pytorch_tanh", pad=0, eos=1, start=2,
        head=256, kv_heads=1,
    ),
    # CTranslate2 knows no such model either.
    "prophetnet-large": Shape(
        "prophetnet", 30522, 12, 12, 1024, 4096, 16, "gelu", pad=0, eos=102, start=102
    ),
    # CTranslate2 knows no experts.
    "switch-base-8": Shape(
        "switch_transformers", 32128, 12, 12, 768, 3072, 12, "relu", pad=0, eos=1, start=0,
        experts=8, sparse_step=2,
    ),
    # nllb-moe-54b with fewer layers, of half the size, and an eighth of its experts. transformers 5
    # runs the experts 0 and 1 alone: compare with 4.57.6.
    "nllb-moe-16-experts": Shape(
        "nllb-moe", 256206, 4, 4, 1024, 4096, 16, "relu", pad=1, eos=2, start=2,
        experts=16, sparse_step=2, choices=2,
    ),
    "t5-small": Shape("t5", 32128, 6, 6, 512, 2048, 8, "relu", pad=0, eos=1, start=0),
    "t5-base": Shape("t5", 32128, 12, 12, 768, 3072, 12, "relu", pad=0, eos=1, start=0),
    # For sources of thousands of tokens; CTranslate2 knows no such models.
    "led-base-16384": Shape(
        "led", 50265, 6, 6, 768, 3072, 12, "gelu", pad=1, eos=2, start=2, reach=512
    ),
    "pegasus-x-base": Shape(
        "pegasus_x",
        96103,
        12,
        12,
        768,
        3072,
        12,
        "gelu",
        pad=0,
        eos=1,
        start=0,
        reach=256,
        global_tokens=128,
    ),
    "bigbird-pegasus-large": Shape(
        "bigbird_pegasus",
        96103,
        16,
        16,
        1024,
        4096,
        16,
        "gelu_new",
        pad=0,
        eos=1,
        start=2,
        reach=256,
    ),
    "long-t5-local-base": Shape(
        "longt5",
        32128,
        12,
        12,
        768,
        2048,
        12,
        "gated-gelu",
        pad=0,
        eos=1,
        start=0,
        reach=127,
    ),
}
SHAPES["long-t5-tglobal-base"] = replace(SHAPES["long-t5-local-base"], global_block=16)


def checkpoint(name, folder):
    """The HuggingFace folder of a model, made where it is missing."""
    path = folder / name / "hf"
    # The vocabulary of an older model may differ.
    if path.is_dir() and words(path)[0] != word(0):
        shutil.rmtree(path.parent)
    if not path.is_dir():
        with Beside(path) as partial:
            write_checkpoint(SHAPES[name], partial)
    return path


def write_checkpoint(shape, folder):
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(1)
    fields = shape.config()
    config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32)
    # Generation defaults without limits: each run sets its own length.
    model.generation_config = transformers.GenerationConfig(
        pad_token_id=shape.pad, eos_token_id=shape.eos, decoder_start_token_id=shape.start
    )
    model.save_pretrained(folder)
    words = {word(index): index for index in range(shape.vocab)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=word(3)))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=word(3),
        pad_token=word(shape.pad),
        eos_token=word(shape.eos),
        bos_token=word(0),
        model_max_length=1024 if shape.reach is None else 16384,
    ).save_pretrained(folder)


def ctranslate2(name, folder, precision):
    """The model as CTranslate2's own converter writes it."""
    path = folder / name / f"ctranslate2-{precision}"
    if not path.is_dir():
        import ctranslate2 as library

        source = checkpoint(name, folder)
        with Beside(path) as partial:
            converter = library.converters.TransformersConverter(str(source))
            converter.convert(
                str(partial), quantization={"fp32": "float32"}.get(precision, precision), force=True
            )
    return path


def epitome(name, folder, precision, binary):
    """The bundle of `epitome export`. Exports again if the program is newer."""
    path = folder / name / f"epitome-{precision}"
    manifest = path / "manifest.json"
    if not manifest.is_file() or manifest.stat().st_mtime < binary.stat().st_mtime:
        command = [binary, "export", checkpoint(name, folder), "--output", path]
        # fp32 is the default of the export.
        subprocess.run(
            command + ([] if precision == "fp32" else ["--precision", precision]), check=True
        )
    return path


def word(index):
    """The word of a token id. All have one length: no special token is a part of another word,
    which it would cut in two."""
    return f"t{index:06}"


def words(path):
    """Words of a checkpoint's tokenizer, by token id."""
    vocabulary = json.loads((path / "tokenizer.json").read_text())["model"]["vocab"]
    return sorted(vocabulary, key=vocabulary.get)


class Beside:
    """A folder that is renamed into place when it is complete."""

    def __init__(self, path: Path):
        self.path, self.partial = path, path.with_name(path.name + ".partial")

    def __enter__(self):
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        return self.partial

    def __exit__(self, error, *_):
        if error is None:
            self.partial.rename(self.path)
        else:
            shutil.rmtree(self.partial, ignore_errors=True)
