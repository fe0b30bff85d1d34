# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories as tensors: checking, batching, packing into micro-batches, spreading over ranks.

Called by workflows (make trajectories), the rollout executor (check them), trainers (batch and spread them) and engines
(pack them). Shapes: B sequences padded on the right to S tokens, T packed tokens, n sequences of a packed batch.
"""

from areal.utils.data.collectives import all_gather_tensor_container, broadcast_tensor_container, tensor_container_to
from areal.utils.data.distribute import (
    distribute_trajectories,
    make_dummy_trajectory,
    scatter_trajectories,
)
from areal.utils.data.microbatch import (
    MicroBatchList,
    allocate_balanced_mbs,
    allocate_balanced_mbs_synced,
    split_padded_tensor_dict_into_mb_list,
)
from areal.utils.data.packing import (
    amend_position_ids,
    pack_tensor_dict,
    pad_packed_tensor_dict,
    to_prediction_alignment,
    unpack_sequence,
    unpad_logits,
)
from areal.utils.data.padded import (
    TrajBatchMeta,
    batched_call,
    collate_samples_to_list,
    concat_batch,
    concat_padded_tensors,
    pad_sequences_to_tensors,
    split_and_unpad_tensor,
    split_batch,
)
from areal.utils.data.schema import check_trajectory_format, get_batch_size, row_lengths

__all__ = [
    "MicroBatchList",
    "TrajBatchMeta",
    "all_gather_tensor_container",
    "allocate_balanced_mbs",
    "allocate_balanced_mbs_synced",
    "amend_position_ids",
    "batched_call",
    "broadcast_tensor_container",
    "check_trajectory_format",
    "collate_samples_to_list",
    "concat_batch",
    "concat_padded_tensors",
    "distribute_trajectories",
    "get_batch_size",
    "make_dummy_trajectory",
    "pack_tensor_dict",
    "pad_packed_tensor_dict",
    "pad_sequences_to_tensors",
    "row_lengths",
    "scatter_trajectories",
    "split_and_unpad_tensor",
    "split_batch",
    "split_padded_tensor_dict_into_mb_list",
    "tensor_container_to",
    "to_prediction_alignment",
    "unpack_sequence",
    "unpad_logits",
]
