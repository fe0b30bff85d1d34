# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from areal.utils.checkpoint_dir import index_differences, read_index, write_weights
from areal.utils.checksum import weights_checksum
from areal.utils.errors import CheckpointError

WEIGHTS = {
    "a.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "b.bias": torch.randn(5, dtype=torch.bfloat16),
    "c.view": torch.arange(20.0).reshape(4, 5)[:, 1:3],
    "d.ids": torch.arange(3),
}


def load_all(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in path.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_write_weights_round_trips_with_index_and_checksum(tmp_path: Path) -> None:
    answer = write_weights(tmp_path / "v1", WEIGHTS.items())

    loaded = load_all(tmp_path / "v1")
    assert loaded.keys() == WEIGHTS.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in WEIGHTS.items())
    assert answer["checksum"] == weights_checksum(loaded.items()) == weights_checksum(WEIGHTS.items())
    assert answer["index"] == read_index(tmp_path / "v1")
    assert answer["index"]["b.bias"] == ("BF16", (5,))
    assert [entry.name for entry in tmp_path.iterdir()] == ["v1"]


def test_write_weights_casts_floating_tensors_only(tmp_path: Path) -> None:
    answer = write_weights(tmp_path / "v1", WEIGHTS.items(), torch.bfloat16)

    dtypes = {name: dtype for name, (dtype, _) in answer["index"].items()}
    assert dtypes == {"a.weight": "BF16", "b.bias": "BF16", "c.view": "BF16", "d.ids": "I64"}
    assert answer["checksum"] == weights_checksum(load_all(tmp_path / "v1").items())


def test_write_weights_in_shards_reads_like_one(tmp_path: Path) -> None:
    whole = write_weights(tmp_path / "whole", WEIGHTS.items())
    sharded = write_weights(tmp_path / "sharded", WEIGHTS.items(), max_shard_bytes=50)

    assert sharded == whole
    files = sorted(file.name for file in (tmp_path / "sharded").glob("*.safetensors"))
    assert files == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    body = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())
    assert body["weight_map"].keys() == WEIGHTS.keys()
    assert body["metadata"]["total_size"] == sum(tensor.nbytes for tensor in WEIGHTS.values())


def test_write_weights_is_read_by_transformers(tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    write_weights(tmp_path / "v1", model.state_dict().items(), max_shard_bytes=2000)
    config.save_pretrained(tmp_path / "v1")

    loaded = Qwen2ForCausalLM.from_pretrained(tmp_path / "v1")

    assert weights_checksum(loaded.state_dict().items()) == weights_checksum(model.state_dict().items())


def test_write_weights_holds_one_shard_at_a_time(tmp_path: Path) -> None:
    alive = 0
    peak = 0

    class Counted(torch.Tensor):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream():
        nonlocal alive, peak
        for number in range(20):
            alive += 1
            peak = max(peak, alive)
            yield f"w{number}", torch.zeros(1000).as_subclass(Counted)

    write_weights(tmp_path / "v1", stream(), max_shard_bytes=8000)

    assert peak <= 5


def test_write_weights_whose_stream_fails_leaves_nothing(tmp_path: Path) -> None:
    def stream():
        yield "a", torch.ones(3)
        raise RuntimeError("a rank was lost")

    with pytest.raises(RuntimeError, match="rank was lost"):
        write_weights(tmp_path / "v1", stream(), max_shard_bytes=4)
    assert list(tmp_path.iterdir()) == []


def test_write_weights_beyond_a_file_size_limit_is_a_checkpoint_error_and_keeps_the_old_version(tmp_path: Path) -> None:
    code = f"""
import resource, torch
from areal.utils.checkpoint_dir import write_weights
from areal.utils.errors import CheckpointError
write_weights({str(tmp_path / "v1")!r}, [("a", torch.ones(10))])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_weights({str(tmp_path / "v1")!r}, [("a", torch.ones(1_000_000))])
except CheckpointError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert "refused: cannot write" in done.stdout, done.stderr
    assert read_index(tmp_path / "v1") == {"a": ("F32", (10,))}
    assert [entry.name for entry in tmp_path.iterdir()] == ["v1"]


@pytest.mark.parametrize("damage", ["truncate", "garbage", "header"])
def test_read_index_names_a_damaged_file(tmp_path: Path, damage: str) -> None:
    write_weights(tmp_path / "v1", WEIGHTS.items())
    file = tmp_path / "v1" / "model.safetensors"
    content = file.read_bytes()
    spoiled = {"truncate": content[:-1], "garbage": b"\xff" * 64, "header": content[:8] + b"}" + content[9:]}
    file.write_bytes(spoiled[damage])

    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_index(tmp_path / "v1")


def test_read_index_of_an_empty_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found none"):
        read_index(tmp_path)


def test_index_differences_names_missing_unexpected_and_changed() -> None:
    old = {"a": ("F32", (2,)), "b": ("F32", (2,)), "c": ("F32", (2,))}
    new = {"b": ("F32", (3,)), "c": ("BF16", (2,)), "d": ("F32", (2,))}

    lines = index_differences(old, new)

    assert [line.split(":")[0] for line in lines] == ["a", "d", "b", "c"]
    assert index_differences(old, dict(old)) == []
