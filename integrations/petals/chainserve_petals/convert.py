"""A Llama-architecture GGUF file as a model folder in Hugging Face's format, all weights float32.

PETALS' servers load their blocks from such a folder. The same weights are also written as a GGUF of float32 tensors:
with it the orchestrator's own ends (embedding and output head) compute with the very numbers that PETALS and
transformers have, not with products of quantised ones.

usage: python -m chainserve_petals.convert MODEL.gguf OUT

Writes OUT/hf and OUT/STEM.f32.gguf. Each appears only when it is complete; what is there is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[Any]

# Suffixes of a block's tensors, GGUF's and transformers'.
BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL_TOKEN = 3
# Tokens that split digits one by one and know bytes, as GPT-2's do; the ones of SmolLM2.
KNOWN_PRETOKENIZERS = ("smollm", "default")


class ConversionError(Exception):
    """A file that cannot be converted, and why."""


def field(reader: gguf.GGUFReader, key: str, default: Any = None) -> Any:
    """A metadata value; `default` when it is absent, an error when there is none."""
    entry = reader.get_field(key)
    if entry is not None:
        return entry.contents()
    if default is None:
        raise ConversionError(f"the GGUF file has no {key}")
    return default


def unpermuted(rows: Array, heads: int) -> Array:
    """Rows of a query or key matrix in transformers' order.

    GGUF's `llama` files keep the two values that are rotated together in adjacent rows, transformers half a head apart.
    """
    count, columns = rows.shape
    return rows.reshape(heads, count // heads // 2, 2, columns).swapaxes(1, 2).reshape(count, columns)


def model_config(reader: gguf.GGUFReader, *, tied: bool, vocabulary: int) -> dict[str, Any]:
    """`config.json` of transformers' Llama."""
    architecture = field(reader, "general.architecture")
    if architecture != "llama":
        raise ConversionError(f"the architecture is {architecture}; only llama is converted")

    def number(key: str, default: Any = None) -> Any:
        return field(reader, f"llama.{key}", default)

    heads = number("attention.head_count")
    width = number("embedding_length")
    if number("attention.key_length", width // heads) != width // heads:
        raise ConversionError("heads of another size than width/heads are not converted")
    if field(reader, "llama.rope.scaling.type", "none") != "none" or any(
        tensor.name == "rope_freqs.weight" for tensor in reader.tensors
    ):
        raise ConversionError("scaled rotary positions are not converted: transformers 4.34 does not know them")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv", heads),
        "rms_norm_eps": float(f"{number('attention.layer_norm_rms_epsilon'):.7g}"),
        "rope_theta": float(number("rope.freq_base", 10000.0)),
        "max_position_embeddings": number("context_length"),
        "vocab_size": vocabulary,
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id", 1),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id", 2),
        "torch_dtype": "float32",
        "use_cache": True,
    }


def hf_tensors(reader: gguf.GGUFReader, config: dict[str, Any]) -> dict[str, Array]:
    """Every tensor under transformers' name, float32."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    result: dict[str, Array] = {}
    for tensor in reader.tensors:
        values = np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        values = values.reshape(tuple(reversed(tensor.shape.tolist())))
        match tensor.name.split("."):
            case ["token_embd", "weight"]:
                result["model.embed_tokens.weight"] = values
            case ["output_norm", "weight"]:
                result["model.norm.weight"] = values
            case ["output", "weight"]:
                result["lm_head.weight"] = values
            case ["blk", block, kind, "weight"] if kind in BLOCK_TENSORS:
                if kind in heads:
                    values = np.ascontiguousarray(unpermuted(values, heads[kind]))
                result[f"model.layers.{block}.{BLOCK_TENSORS[kind]}.weight"] = values
            case _:
                raise ConversionError(f"the tensor {tensor.name} is not one of a Llama model")
    return result


def write_tokenizer(reader: gguf.GGUFReader, folder: Path) -> bool:
    """The tokenizer rebuilt from tokens and merges. Returns `False`, and writes nothing, for a kind not known here.

    ChainServe's own requests do not need it (it tokenizes itself); people who use PETALS' client do.
    """
    if field(reader, "tokenizer.ggml.model") != "gpt2":
        return False
    if field(reader, "tokenizer.ggml.pre", "default") not in KNOWN_PRETOKENIZERS:
        return False
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    tokens: list[str] = field(reader, "tokenizer.ggml.tokens")
    kinds: list[int] = field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[field(reader, "tokenizer.ggml.bos_token_id", 1)],
        "eos_token": tokens[field(reader, "tokenizer.ggml.eos_token_id", 2)],
        "clean_up_tokenization_spaces": False,
        "model_max_length": field(reader, "llama.context_length"),
    }
    template = reader.get_field("tokenizer.chat_template")
    if template is not None:
        settings["chat_template"] = template.contents()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return True


def write_folder(reader: gguf.GGUFReader, folder: Path) -> None:
    """The model folder; complete or not there."""
    work = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        names = {tensor.name: tensor for tensor in reader.tensors}
        vocabulary = int(names["token_embd.weight"].shape[1])
        config = model_config(reader, tied="output.weight" not in names, vocabulary=vocabulary)
        tensors = hf_tensors(reader, config)
        save_file(tensors, str(work / "model.safetensors"), metadata={"format": "pt"})
        index = {
            "metadata": {"total_size": sum(values.nbytes for values in tensors.values())},
            "weight_map": {name: "model.safetensors" for name in tensors},
        }
        (work / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
        (work / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        if not write_tokenizer(reader, work):
            print("convert: the tokenizer is of a kind not known here; none is written", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_gguf(reader: gguf.GGUFReader, path: Path) -> None:
    """The same model as a GGUF file of float32 tensors, every other entry as it was; complete or not there."""
    work = path.with_name(f".{path.name}-{os.getpid()}")
    writer = gguf.GGUFWriter(work, field(reader, "general.architecture"))
    try:
        skipped = ("general.architecture", "general.file_type", "general.quantization_version")
        for entry in reader.fields.values():
            if entry.name.startswith("GGUF.") or entry.name in skipped:
                continue
            kind = entry.types[0]
            element = entry.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(entry.name, entry.contents(), kind, sub_type=element)
        writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
        for tensor in reader.tensors:
            values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
            writer.add_tensor(tensor.name, values.reshape(tuple(reversed(tensor.shape.tolist()))))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        work.rename(path)
    finally:
        work.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="chainserve_petals.convert", description=__doc__)
    parser.add_argument("model", type=Path, help="the GGUF file")
    parser.add_argument("out", type=Path, help="the folder to write into")
    arguments = parser.parse_args()
    if not arguments.model.is_file():
        print(f"convert: {arguments.model} is not a file", file=sys.stderr)
        return 2
    folder = arguments.out / "hf"
    full = arguments.out / f"{arguments.model.stem}.f32.gguf"
    if (folder / "config.json").exists() and full.exists():
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(arguments.model)
    try:
        if not (folder / "config.json").exists():
            write_folder(reader, folder)
        if not full.exists():
            write_gguf(reader, full)
    except ConversionError as error:
        print(f"convert: {arguments.model}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
