# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.api.alloc_mode import (
    AllocationValidationError,
    FSDPParallelStrategy,
    InvalidAllocationModeError,
    MegatronParallelStrategy,
    ModelAllocation,
    ParallelStrategy,
    check_backend_available,
    usable_gpus,
)
from areal.api.cli_args import ClusterSpecConfig
from areal.utils.errors import ConfigError

# Sizes in the order d, t, p, c, e, expert t; worked out by hand from the grammar.
READABLE = [
    ("fsdp:d4", "fsdp", (4, 1, 1, 1, 1, 1), 4),
    ("fsdp:d4p1t1", "fsdp", (4, 1, 1, 1, 1, 1), 4),
    ("fsdp: d4 t2", "fsdp", (4, 2, 1, 1, 1, 1), 8),
    ("fsdp:t2d4", "fsdp", (4, 2, 1, 1, 1, 1), 8),
    ("fsdp:c2d3", "fsdp", (3, 1, 1, 2, 1, 1), 6),
    ("native:d3", "native", (3, 1, 1, 1, 1, 1), 3),
    ("sglang:d2t4p2", "sglang", (2, 4, 2, 1, 1, 1), 16),
    ("archon:d2p2e2", "archon", (2, 1, 2, 1, 2, 1), 4),
    ("archon:d4p2", "archon", (4, 1, 2, 1, 1, 1), 8),
    ("megatron:attn:d4p2t2c2|ffn:d2p2t4e2", "megatron", (4, 2, 2, 2, 2, 4), 32),
    ("megatron:(attn:d4p2t2c2|ffn:t4e2)", "megatron", (4, 2, 2, 2, 2, 4), 32),
    ("megatron:(attn:d1p12t4|ffn:e4)", "megatron", (1, 4, 12, 1, 4, 1), 48),
    ("archon:(attn:d4|ffn:e2)", "archon", (4, 1, 1, 1, 2, 1), 4),
    ("fsdp:(attn:d4|ffn:d4)", "fsdp", (4, 1, 1, 1, 1, 1), 4),
]

# Each with the column that the caret points at.
UNREADABLE = [
    ("", 0),
    ("fsdp", 4),
    ("fsdp:", 5),
    ("fsdp:d0", 6),
    ("fsdp:d02", 6),
    ("fsdp:4", 5),
    ("fsdp:d", 6),
    ("FSDP:d4", 0),
    ("fsdp.d4", 4),
    ("megatron:d1p2v2", 13),
    ("fsdp:d4d2", 7),
    ("d4", 0),
    ("[actor]:d4", 0),
    ("(attn:d4|ffn:d4)", 0),
    ("sglang:d4+fsdp:d4", 9),
    ("fsdp:d4|fsdp[ref]:d4", 7),
    ("native:(attn:d1|ffn:d1)", 7),
    ("megatron:(attn:d4|ffn:d4", 24),
    ("megatron:(attn:d4|fnn:d4)", 18),
    ("fsdp[4]:d1", 5),
    ("fsdp:d1234567890123", 6),
]

CONTRADICTORY = [
    ("sglang:d4c2", 9),
    ("sglang:d4e2", 9),
    ("native:d1t2", 9),
    ("fsdp:d4p2", 7),
    ("fsdp:d2e2", 7),
    ("megatron:d2e4", 9),
    ("megatron:(attn:d4|ffn:e3)", 22),
    ("megatron:(attn:d4|ffn:d3)", 22),
    ("megatron:(attn:d4p2|ffn:p4)", 24),
    ("fsdp:(attn:d4|ffn:d2t2)", 18),
]


@pytest.mark.parametrize(("spec", "backend", "sizes", "world"), READABLE)
def test_from_str_readable_gives_sizes_and_round_trips(spec, backend, sizes, world):
    allocation = ModelAllocation.from_str(spec)
    par = allocation.parallel
    assert allocation.backend == backend
    assert (par.dp_size, par.tp_size, par.pp_size, par.cp_size, par.ep_size, par.etp_size) == sizes
    assert allocation.world_size == world
    assert ModelAllocation.from_str(str(allocation)) == allocation


@pytest.mark.parametrize(("spec", "column"), UNREADABLE)
def test_from_str_unreadable_raises_with_caret_at_the_character(spec, column):
    with pytest.raises(InvalidAllocationModeError) as caught:
        ModelAllocation.from_str(spec)
    assert not isinstance(caught.value, AllocationValidationError)
    assert caught.value.args[0].splitlines()[-1] == "  " + " " * column + "^"


@pytest.mark.parametrize(("spec", "column"), CONTRADICTORY)
def test_from_str_contradictory_raises_validation_error_with_caret(spec, column):
    with pytest.raises(AllocationValidationError) as caught:
        ModelAllocation.from_str(spec)
    assert caught.value.args[0].splitlines()[-1] == "  " + " " * column + "^"


def test_errors_of_allocations_are_one_family_of_config_errors():
    assert issubclass(AllocationValidationError, InvalidAllocationModeError)
    assert issubclass(InvalidAllocationModeError, ConfigError)
    assert issubclass(InvalidAllocationModeError, ValueError)


def test_name_in_string_wins_over_argument():
    assert ModelAllocation.from_str("fsdp[actor]:d4", name="other").name == "actor"
    assert ModelAllocation.from_str("fsdp:d4", name="other").name == "other"
    named = ModelAllocation.from_str("megatron[actor]:(attn:d2|ffn:d2)")
    assert named.name == "actor"
    assert ModelAllocation.from_str(str(named)) == named


@pytest.mark.parametrize(("e", "etp", "edp"), [(1, 1, 4), (2, 1, 4), (4, 2, 1)])
def test_expert_data_parallel_size_counts_copies_of_an_expert(e, etp, edp):
    # world = 4*2*2 = 16 devices, two stages: copies = 16 / (2 * etp * e); without experts, the plain data size.
    par = ParallelStrategy(
        data_parallel_size=4,
        tensor_parallel_size=2,
        pipeline_parallel_size=2,
        expert_parallel_size=e,
        expert_tensor_parallel_size=etp,
    )
    assert par.edp_size == edp


def test_parallelism_eq_compares_sizes_across_classes():
    assert ParallelStrategy.parallelism_eq(FSDPParallelStrategy(data_parallel_size=2), ParallelStrategy(1, 1, 2))
    assert not ParallelStrategy.parallelism_eq(ParallelStrategy(2), ParallelStrategy(1, 1, 2))


def test_megatron_virtual_stages_without_stages_are_refused():
    with pytest.raises(AllocationValidationError, match="pipeline_parallel_size > 1"):
        MegatronParallelStrategy(virtual_pipeline_parallel_size=2)
    strategy = MegatronParallelStrategy(pipeline_parallel_size=2, virtual_pipeline_parallel_size=2)
    assert strategy.world_size == 2


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="fsdpmegatronativ:()|[]+ \tdtpce0123456789٣é_", max_size=30))
def test_from_str_any_text_gives_allocation_or_our_error(spec):
    try:
        allocation = ModelAllocation.from_str(spec)
    except InvalidAllocationModeError:
        return
    assert ModelAllocation.from_str(str(allocation)) == allocation


@settings(max_examples=200, deadline=None)
@given(
    backend=st.sampled_from(["fsdp", "megatron", "archon", "native", "sglang", "vllm"]),
    sizes=st.dictionaries(st.sampled_from("dtpce"), st.integers(1, 6), min_size=1),
    ffn=st.dictionaries(st.sampled_from("detp"), st.integers(1, 6)),
    hybrid=st.booleans(),
)
def test_from_str_grammatical_text_gives_allocation_or_our_error(backend, sizes, ffn, hybrid):
    attn_dims = "".join(f"{axis}{size}" for axis, size in sizes.items())
    ffn_dims = "".join(f"{axis}{size}" for axis, size in ffn.items())
    spec = f"{backend}:(attn:{attn_dims}|ffn:{ffn_dims})" if hybrid else f"{backend}:{attn_dims}"
    try:
        allocation = ModelAllocation.from_str(spec)
    except InvalidAllocationModeError:
        return
    assert allocation.world_size == math.prod(size for axis, size in sizes.items() if axis != "e")
    assert ModelAllocation.from_str(str(allocation)) == allocation


@pytest.mark.parametrize(
    ("spec", "instead"),
    [("sglang:d1", "native:d1"), ("vllm:d1", "native:d1"), ("megatron:d1", "archon:d1")],
)
def test_backend_not_in_release_is_refused_with_what_to_use(spec, instead):
    with pytest.raises(ConfigError, match="not in this release") as caught:
        check_backend_available(ModelAllocation.from_str(spec), num_gpus=0)
    assert instead in caught.value.args[0]


def test_backend_with_more_gpus_than_the_machine_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match=r"at most 2 GPUs.*a layout of 4"):
        check_backend_available(ModelAllocation.from_str("fsdp:d4"), num_gpus=2)


@pytest.mark.parametrize(
    ("spec", "num_gpus"),
    [("fsdp:d4", 0), ("native:d2", 2), ("fsdp:d1", 8), ("archon:d1", 0), ("archon:(attn:d2t2|ffn:d1e4)", 4)],
)
def test_backend_within_the_machine_passes(spec, num_gpus):
    check_backend_available(ModelAllocation.from_str(spec), num_gpus)


@pytest.mark.parametrize(
    ("spec", "shares", "heads"),
    [
        ("fsdp:d3", [0, 1, 2], [0, 1, 2]),
        ("archon:d2t2", [0, 0, 1, 1], [0, 2]),
        ("archon:p2d2", [0, 1, 0, 1], [0, 1]),
        ("archon:d1c2t2", [0, 0, 0, 0], [0]),
    ],
)
def test_data_rank_of_model_parallel_peers_is_the_same(spec, shares, heads):
    strategy = ModelAllocation.from_str(spec).parallel
    assert [strategy.data_rank(rank) for rank in range(strategy.world_size)] == shares
    assert strategy.data_heads() == heads


def test_from_str_archon_experts_cut_otherwise_than_attention_is_refused():
    with pytest.raises(ConfigError, match=r"expected ffn t .* to be 1 or attn t = 4, got t2"):
        ModelAllocation.from_str("archon:(attn:d2t4|ffn:t2e2)")


def test_usable_gpus_with_many_nodes_is_refused():
    with pytest.raises(ConfigError, match="one machine"):
        usable_gpus(ClusterSpecConfig(n_nodes=2))


def test_usable_gpus_is_capped_by_the_config():
    assert usable_gpus(ClusterSpecConfig(n_gpus_per_node=0)) == 0
