# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP protocol of the embedded `native` server, as seen by a client.

The rollout engine sends what `NativeBackend` builds and reads answers through it. Pure translation: no connection, no state.
"""

from __future__ import annotations

from typing import Any

from areal.api.io_struct import HttpGenerationResult, HttpRequest, ModelRequest, WeightUpdateMeta
from areal.utils.errors import InfraError
from areal.utils.lazy import attach

# Lives above this layer (it needs the rollout executor); the name is handed on because users look for it here.
__getattr__, _, _ = attach(__name__, {"RemoteNativeEngine": "areal.infra.remote_inf_engine"})

_STOP_REASONS = ("stop", "length", "abort")


class NativeBackend:
    """Requests and answers of `python -m areal.engine.native.server`."""

    def build_generation_request(self, req: ModelRequest, max_new_tokens: int, rng_offset: int) -> HttpRequest:
        """The request for (the rest of) one generation; `req.input_ids` ends with the `rng_offset` tokens that exist.

        Seeded by the client, hence the same tokens whenever and wherever it is answered: it may be repeated.
        """
        gconfig = req.gconfig
        sampling_params = {
            "max_new_tokens": max_new_tokens,
            "min_new_tokens": min(max_new_tokens, max(0, gconfig.min_new_tokens - rng_offset)),
            "temperature": gconfig.temperature,
            "top_p": gconfig.top_p,
            "top_k": gconfig.top_k,
            "stop_token_ids": gconfig.stop_token_ids,
            "greedy": gconfig.greedy,
            "seed": gconfig.seed,
            "ignore_eos": gconfig.ignore_eos,
            "rng_offset": rng_offset,
        }
        payload = {"request_id": req.rid, "input_ids": req.input_ids, "sampling_params": sampling_params}
        return HttpRequest(endpoint="/generate", payload=payload, idempotent=gconfig.seed is not None)

    def parse_generation_response(self, body: dict[str, Any]) -> HttpGenerationResult:
        """One segment of tokens, with the server's version spans spread over them; `InfraError` when it makes no sense."""
        try:
            tokens, logprobs = body["output_ids"], body["output_logprobs"]
            versions = _expand_spans(body["version_spans"], len(tokens))
            stop_reason = body["finish_reason"]
            if stop_reason not in _STOP_REASONS:
                raise ValueError(f"finish_reason: expected one of {_STOP_REASONS}, got {stop_reason!r}")
            return HttpGenerationResult(
                output_tokens=tokens, output_logprobs=logprobs, output_versions=versions, stop_reason=stop_reason
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InfraError(
                f"the answer of /generate is malformed: {error!r}; client and server must match"
            ) from error

    def build_load_weights_requests(self, meta: WeightUpdateMeta) -> list[HttpRequest]:
        """One call loads, checks and labels; the server ignores a version it has already."""
        payload = {"path": meta.path, "version": meta.version}
        return [HttpRequest(endpoint="/load_weights", payload=payload, idempotent=True)]

    def parse_checksum(self, body: dict[str, Any]) -> str | None:
        """Checksum of the weights that the server now has."""
        return body.get("checksum")

    def pause_request(self, mode: str) -> HttpRequest:
        """Freeze generation (`keep`) or return everything unfinished (`abort`); new requests are held either way."""
        return HttpRequest(endpoint="/pause", payload={"mode": mode}, idempotent=True)

    def resume_request(self) -> HttpRequest:
        """Thaw generation."""
        return HttpRequest(endpoint="/resume", idempotent=True)

    def health_request(self) -> HttpRequest:
        """Liveness probe."""
        return HttpRequest(endpoint="/health", method="GET", idempotent=True)


def _expand_spans(spans: list[dict[str, int]], num_tokens: int) -> list[int]:
    """A version for each token from `[{"version", "start", "end"}]`, which must cover the tokens without gap or overlap."""
    versions: list[int] = []
    for span in spans:
        if span["start"] != len(versions) or span["end"] < span["start"]:
            raise ValueError(f"version_spans: expected a span starting at token {len(versions)}, got {span}")
        versions += [span["version"]] * (span["end"] - span["start"])
    if len(versions) != num_tokens:
        raise ValueError(f"version_spans: expected {num_tokens} tokens covered, got {len(versions)}")
    return versions
