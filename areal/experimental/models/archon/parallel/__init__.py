# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Parallel layouts of an Archon model, derived from the roles its layers declare; the model never knows.

An engine does, in this order (each public function has a docstring with its contract):

1. `dims.ArchonParallelDims.of(strategy, device_type)`, after the default process group exists; it owns every mesh and group.
2. `validate.check_layout(args, dims)`: what does not divide is refused with both numbers, before anything is built.
3. Without pipeline: `model = ScoringDecoder(args)` on meta, or with weights (same on all ranks: they are cut, not broadcast;
   `init_weights` works before this package touches a model, not after).
   With pipeline: `stages.model_parts` says what each stage holds and `stages.stages_of_rank` which ones this rank runs; build
   one `ScoringDecoder(args, part)` for each.
4. `parallelize.parallelize_decoder(model, dims, ...)` on each: fp8, TP, EP, CP, AC, compile, FSDP. In place.
5. From meta: `model.to_empty(device=...)`, then weights. Parameters are DTensors over their meshes, under the names they had:
   `Tensor.full_tensor()` or DCP reshard them. Buffers that no checkpoint has (rotary frequencies, slopes) survive `to_empty`.
6. A micro-batch: `ulysses.slice_inputs`, then `model(tokens, positions, cu_seqlens, max_seqlen, labels=...)`: log-probs and
   entropies of this context-parallel rank's tokens, equal on its tensor-parallel ranks; then `ulysses.gather_outputs`.
   The number of tokens of a micro-batch must be a multiple of `dims.seq_len_divisor` (pad with a dummy sequence).
   With pipeline: `pipeline.PipelineRunner.run` takes all micro-batches of a step (`pad_inputs` to one length) and a callback
   that turns scores into losses.
7. Gradients are SUMS over all ranks: divide the loss by the global number of tokens. `gradients.clip_gradients(params,
   max_norm, dims)` gives the norm over all meshes and stages. With tied embeddings in a pipeline both ends first call
   `tied.TiedMatrix.sum_gradients`, and one of their matrices is `repeated`.
"""
