"""The converter, on a model of two blocks made here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray
from safetensors.numpy import load_file

from chainserve_petals.convert import unpermuted

WIDTH, HEADS, KEY_VALUE_HEADS, INNER, VOCABULARY, BLOCKS = 64, 4, 2, 96, 40, 2
SHAPES = {
    "attn_norm": (WIDTH,),
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH * KEY_VALUE_HEADS // HEADS, WIDTH),
    "attn_v": (WIDTH * KEY_VALUE_HEADS // HEADS, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_norm": (WIDTH,),
    "ffn_gate": (INNER, WIDTH),
    "ffn_up": (INNER, WIDTH),
    "ffn_down": (WIDTH, INNER),
}
Array = NDArray[Any]


def write_model(path: Path, **changes: Any) -> dict[str, Array]:
    """A GGUF with quantised matrices; returns the weights as they are read back."""
    values = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_block_count(BLOCKS)
    writer.add_embedding_length(WIDTH)
    writer.add_context_length(128)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = ["<|end|>", *(chr(ord("a") + index) for index in range(VOCABULARY - 2)), "ab"]
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (VOCABULARY - 1))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = {"token_embd": (VOCABULARY, WIDTH), "output_norm": (WIDTH,)}
    for block in range(BLOCKS):
        names |= {f"blk.{block}.{kind}": shape for kind, shape in SHAPES.items()}
    written: dict[str, Array] = {}
    for name, shape in names.items():
        weights = values.standard_normal(shape).astype(np.float32)
        if len(shape) == 2:
            packed = quantize(weights, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            weights = dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"{name}.weight", weights)
        written[name] = weights
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return written


def convert(model: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "chainserve_petals.convert", str(model), str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_rows_change_places_as_rotation_needs() -> None:
    # One head of six rows: pairs (0, 1), (2, 3), (4, 5) rotate together; transformers wants 0, 2, 4 and 1, 3, 5.
    rows = np.arange(6).reshape(6, 1)
    assert unpermuted(rows, 1).ravel().tolist() == [0, 2, 4, 1, 3, 5]
    two_heads = np.arange(8).reshape(8, 1)
    assert unpermuted(two_heads, 2).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_a_model(tmp_path: Path) -> None:
    written = write_model(tmp_path / "tiny.gguf")
    done = convert(tmp_path / "tiny.gguf", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "out/hf/config.json").read_text())
    assert config["num_hidden_layers"] == BLOCKS
    assert config["num_key_value_heads"] == KEY_VALUE_HEADS
    assert config["rms_norm_eps"] == 1e-5
    assert config["tie_word_embeddings"] is True
    assert config["vocab_size"] == VOCABULARY
    tensors = load_file(tmp_path / "out/hf/model.safetensors")
    assert len(tensors) == 2 + BLOCKS * len(SHAPES)
    assert np.array_equal(tensors["model.embed_tokens.weight"], written["token_embd"])
    assert np.array_equal(tensors["model.layers.1.mlp.down_proj.weight"], written["blk.1.ffn_down"])
    query = tensors["model.layers.0.self_attn.q_proj.weight"]
    assert np.array_equal(query, unpermuted(written["blk.0.attn_q"], HEADS))
    index = json.loads((tmp_path / "out/hf/model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(tensors)

    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tmp_path / "out/hf/tokenizer.json"))
    assert tokenizer.encode("abc<|end|>").ids == [VOCABULARY - 1, 3, 0]


def test_the_same_weights_as_gguf(tmp_path: Path) -> None:
    written = write_model(tmp_path / "tiny.gguf")
    assert convert(tmp_path / "tiny.gguf", tmp_path / "out").returncode == 0
    reader = gguf.GGUFReader(tmp_path / "out/tiny.f32.gguf")
    assert {tensor.tensor_type for tensor in reader.tensors} == {gguf.GGMLQuantizationType.F32}
    for tensor in reader.tensors:
        expected = written[tensor.name.removesuffix(".weight")]
        assert np.array_equal(np.asarray(tensor.data).reshape(expected.shape), expected), tensor.name
    original = gguf.GGUFReader(tmp_path / "tiny.gguf")
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "llama.context_length"):
        copy, source = reader.get_field(key), original.get_field(key)
        assert copy is not None and source is not None
        assert copy.contents() == source.contents()


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.gguf")
    assert convert(tmp_path / "tiny.gguf", tmp_path / "out").returncode == 0
    before = (tmp_path / "out/hf/model.safetensors").stat().st_mtime_ns
    (tmp_path / "out/tiny.f32.gguf").unlink()
    assert convert(tmp_path / "tiny.gguf", tmp_path / "out").returncode == 0
    assert (tmp_path / "out/hf/model.safetensors").stat().st_mtime_ns == before
    assert (tmp_path / "out/tiny.f32.gguf").exists()
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("change", "what"), [({"architecture": "qwen2"}, "only llama")])
def test_models_that_are_refused(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    write_model(tmp_path / "tiny.gguf", **change)
    done = convert(tmp_path / "tiny.gguf", tmp_path / "out")
    assert done.returncode == 2
    assert what in done.stderr
    assert not (tmp_path / "out/hf").exists()
