# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The checks of a family: each compares our model of one `Case` with the HF model or with itself, and says by how much.

Called by `run`. Limits are those of fp32 on a CPU: another order of summation, nothing else. Dimensions: N tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from areal.experimental.models.archon.proof import oracle
from areal.experimental.models.archon.proof.case import Case, CheckResult
from areal.experimental.models.archon.proof.oracle import relative_error

LOGITS_LIMIT = 1e-5
"""Largest difference of logits, relative to the largest logit."""
GRADIENT_LIMIT = 1e-4
"""Largest difference of a parameter's gradient, relative to its largest element."""

Check = Callable[[Case], CheckResult]


def check_args(case: Case) -> CheckResult:
    """The arguments survive `config.json`, and have the sizes of the config."""
    folder = case.folder / "config"
    case.config.save_pretrained(folder)
    again = case.spec.model_args_class.from_hf_config(AutoConfig.from_pretrained(folder))  # type: ignore[attr-defined]
    text = case.config.get_text_config()
    sizes = (text.vocab_size, text.hidden_size, text.num_hidden_layers)
    ours = (case.args.vocab_size, case.args.hidden_size, case.args.num_layers)
    detail = "" if again == case.args else "config.json read back gives other arguments"
    if sizes != ours:
        detail = f"expected vocabulary, width and layers {sizes}, got {ours}"
    return _verdict(case, "args", detail)


def check_round_trip(case: Case) -> CheckResult:
    """What we write is what we read: same names, same bytes."""
    back = case.adapter.to_hf(case.adapter.from_hf(case.checkpoint))
    if back.keys() != case.checkpoint.keys():
        return _verdict(case, "round trip", f"names differ: {sorted(back.keys() ^ case.checkpoint.keys())[:4]}")
    changed = [name for name, tensor in case.checkpoint.items() if not _same_bytes(back[name], tensor)]
    return _verdict(case, "round trip", f"changed: {changed[:4]}" if changed else "")


def check_completeness(case: Case) -> CheckResult:
    """On the meta device: every tensor of the checkpoint is read, every parameter of ours is written, shapes agree."""
    meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in case.checkpoint.items()}
    case.build(case.args, case.adapter.from_hf(meta))
    wanted = {name: tuple(tensor.shape) for name, tensor in meta.items()}
    written = case.adapter.weight_map.hf_shapes()
    odd = sorted(set(wanted.items()) ^ set(written.items()))
    return _verdict(case, "completeness", f"names or shapes differ: {odd[:4]}" if odd else "")


def check_layouts(case: Case) -> CheckResult:
    """The layout of the HF module in memory (fused experts) loads to the same weights as the one on disk."""
    in_memory = {name: tensor.detach() for name, tensor in case.hf_model.state_dict().items()}
    memory, disk = case.adapter.from_hf(in_memory), case.adapter.from_hf(case.checkpoint)
    odd = [name for name, tensor in disk.items() if not torch.equal(memory[name], tensor)]
    return _verdict(case, "layouts", f"differ: {odd[:4]}" if odd else "")


def check_logits(case: Case) -> CheckResult:
    """Packed sequences of ours against separate ones of HF."""
    with torch.no_grad():
        return _measured(case, "logits", relative_error(case.run(case.model), case.hf_logits), LOGITS_LIMIT)


def check_gradients(case: Case) -> CheckResult:
    """Gradients of a random weighted log-prob loss for every HF tensor."""
    case.model.zero_grad()
    case.loss(case.run(case.model)).backward()
    oracle.logits_and_gradients(case.hf_model, case.sequences, case.loss)
    wanted = oracle.saved_gradients(case.hf_model, case.folder / "gradients")
    parameters = dict(case.model.named_parameters())
    state = case.model.state_dict()
    ours: dict[str, Tensor] = {}
    for name, tensor in state.items():
        grad = parameters[name].grad if name in parameters else None
        ours[name] = torch.zeros_like(tensor) if grad is None else grad
    got = case.adapter.to_hf(ours)
    for name in state.keys() - parameters.keys():  # buffers have no gradient
        for hf_name in case.adapter.weight_map.entry_of(name).hf:
            wanted.pop(hf_name, None)
    if missing := sorted(wanted.keys() - got.keys()):
        return _verdict(case, "gradients", f"no gradient for {missing[:4]}")
    worst, error = oracle.worst_error(got, wanted)
    return _measured(case, "gradients", error, GRADIENT_LIMIT, f"worst: {worst}")


def check_packing(case: Case) -> CheckResult:
    """Packed sequences do not see each other: the same as one by one."""
    with torch.no_grad():
        packed_NV = case.run(case.model)
        rows = []
        for tokens_T in case.sequences:
            ends, length = torch.tensor([0, len(tokens_T)], dtype=torch.int32), len(tokens_T)
            rows.append(case.model(tokens_T[None], torch.arange(length)[None], ends, length)[0])
    return _measured(case, "packing", relative_error(packed_NV, torch.cat(rows)), LOGITS_LIMIT)


def check_reload(case: Case) -> CheckResult:
    """`AutoModelForCausalLM.from_pretrained` loads what we save, and computes what the original computed."""
    folder = case.folder / "ours"
    case.hf_model.config.save_pretrained(folder)
    state = {name: tensor.detach().contiguous() for name, tensor in case.adapter.to_hf(case.model.state_dict()).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    if odd := sorted([*info["missing_keys"], *info["unexpected_keys"]]):
        return _verdict(case, "reload", f"missing or unexpected: {odd[:4]}")
    with torch.no_grad():
        logits_NV = oracle.logits_of(model.eval(), case.sequences)
    return _measured(case, "reload", relative_error(logits_NV, case.hf_logits), LOGITS_LIMIT)


def check_critic(case: Case) -> CheckResult:
    """A critic starts from the language model with an initialised score, computes score · hidden, and is saved and loaded."""
    args = case.spec.model_args_class.from_hf_config(case.config, is_critic=True)  # type: ignore[attr-defined]
    adapter = case.spec.state_dict_adapter_class(args)
    critic = case.spec.model_class(args)
    critic.init_weights()
    critic.load_state_dict(adapter.from_hf(case.checkpoint), strict=False)
    saved = adapter.to_hf(critic.state_dict())
    if "score.weight" not in saved:
        return _verdict(case, "critic", "its checkpoint has no score.weight")
    again = case.build(args, adapter.from_hf(saved))
    assert again.score is not None
    with torch.no_grad():
        values_N1 = case.run(again)
        wanted_N1 = oracle.hidden_of(case.hf_model, case.sequences) @ again.score.weight.T
    if not bool(again.score.weight.any()):
        return _verdict(case, "critic", "its score was not initialised")
    return _measured(case, "critic", relative_error(values_N1, wanted_N1), LOGITS_LIMIT)


def check_single(case: Case) -> CheckResult:
    """Parameter by parameter, and group by group where HF fuses several, the adapter writes what it writes at once."""
    state = case.model.state_dict()
    whole = case.adapter.to_hf(state)
    single: dict[str, Tensor] = {}
    for entry in case.adapter.groups():
        if len(entry.ours) == 1:
            single |= case.adapter.convert_single_to_hf(entry.ours[0], state[entry.ours[0]])
        else:
            single |= entry.to_hf({name: state[name] for name in entry.ours})
    odd = sorted(whole.keys() ^ single.keys()) or [n for n in whole if not torch.equal(whole[n], single[n])]
    return _verdict(case, "single", f"differ: {odd[:4]}" if odd else "")


def check_initialisation(case: Case) -> CheckResult:
    """`init_weights` reaches every parameter, and the result runs."""
    model = case.spec.model_class(case.args)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
        model.init_weights()
        left = [name for name, parameter in model.named_parameters() if not bool(parameter.isfinite().all())]
        if not left and not bool(case.run(model).isfinite().all()):
            return _verdict(case, "initialisation", "logits are not finite")
    return _verdict(case, "initialisation", f"not initialised: {left[:4]}" if left else "")


def check_fusion(case: Case) -> CheckResult:
    """The fused projections of the embedded server compute the same."""
    model = case.build(case.args, case.adapter.from_hf(case.checkpoint)).eval()
    model.requires_grad_(False)
    model.fuse()
    with torch.no_grad():
        return _measured(case, "fusion", relative_error(case.run(model), case.hf_logits), LOGITS_LIMIT)


CHECKS: Mapping[str, Check] = {
    "args": check_args,
    "completeness": check_completeness,
    "round trip": check_round_trip,
    "layouts": check_layouts,
    "single": check_single,
    "logits": check_logits,
    "packing": check_packing,
    "gradients": check_gradients,
    "reload": check_reload,
    "critic": check_critic,
    "initialisation": check_initialisation,
    "fusion": check_fusion,
}


def _same_bytes(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.flatten().view(torch.uint8), b.flatten().view(torch.uint8))


def _verdict(case: Case, name: str, problem: str) -> CheckResult:
    return CheckResult(name=name, config=case.label, passed=not problem, detail=problem)


def _measured(case: Case, name: str, measured: float, limit: float, detail: str = "") -> CheckResult:
    passed = measured <= limit
    return CheckResult(name=name, config=case.label, passed=passed, measured=measured, limit=limit, detail=detail)
