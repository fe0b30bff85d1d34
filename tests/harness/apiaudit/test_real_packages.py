# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The audit on real packages: quiet at what is installed, right about what an import shows, and awake to seeded breaks.

The first part reads what is installed here; the tests marked `network` take minutes or download wheels.
"""

import functools
from pathlib import Path

import pytest

from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.servers import Server
from areal.harness.apiaudit.library.wheels import environment, fetch, installed
from areal.harness.apiaudit.mutations import score
from areal.harness.apiaudit.packages import find_package
from areal.harness.apiaudit.probe import probe
from areal.harness.apiaudit.service import audit_discovered, audit_release, discover_packages

ROOT = Path(__file__).parents[3]
INSTALLED = ("transformers", "datasets", "torch")
FOLDERS = ("areal", "examples", "benchmarks", "tests")


@functools.cache
def ours(name):
    return discover_packages(ROOT, [find_package(name)], FOLDERS)


@pytest.mark.parametrize("name", ["transformers", "datasets"])
def test_installed_release_has_no_break(name):
    package = find_package(name)
    result = audit_discovered(ours(name), package, installed(package), None)
    assert [str(finding) for finding in result.findings if finding.extra["status"] == "BREAK"] == []
    assert result.stats["checked"] > 3 * result.stats["unverifiable"]


@pytest.mark.network
def test_installed_torch_has_no_break():
    package = find_package("torch")
    result = audit_discovered(ours("torch"), package, installed(package), None)
    assert [str(finding) for finding in result.findings if finding.extra["status"] == "BREAK"] == []


@pytest.mark.network
@pytest.mark.parametrize("name", INSTALLED)
def test_verdicts_agree_with_a_real_import(name):
    package = find_package(name)
    kinds = ("import", "call", "attribute")
    result = probe(package, [u.symbol for u in ours(name).found.usages[name] if u.kind.value in kinds])
    assert result.errors == []
    assert result.agreement >= 0.995, result.disagreed


@pytest.mark.network
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", INSTALLED)
def test_seeded_breaks_are_found_and_harmless_changes_are_not(name):
    package = find_package(name)
    release = installed(package)
    around = None if name == "torch" else environment()
    result = score(release.sources(), around, ours(name).found.usages[name], release.version, seed=0, limit=8)
    assert result.num_breaks >= 10
    assert result.detection >= 0.97, result.missed
    assert result.false_alarm_rate <= 0.005, result.false_alarms


# What each upgrade really broke, on code that uses it as others did; from the release notes and from running it.
HISTORY = {
    "removed_function": (
        ("transformers", "5.7.0", "5.23.0"),
        "from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_multimodal_rotary_pos_emb",
        {("BREAK", "SYMBOL_REMOVED")},
    ),
    "removed_auto_class": (
        ("transformers", "4.57.1", "5.0.0"),
        "from transformers import AutoModelForVision2Seq",
        {("BREAK", "SYMBOL_REMOVED")},
    ),
    "moved_helper": (
        ("vllm", "0.19.1", "0.25.1"),
        "from vllm.entrypoints.utils import load_aware_call, with_cancellation",
        {("BREAK", "SYMBOL_REMOVED")},
    ),
    "patch_of_a_reexport": (
        ("vllm", "0.25.1", "0.32.0"),
        "from vllm.entrypoints.openai import api_server\ndef ours(*args, **kwargs): ...\napi_server.build_app = ours",
        {("BREAK", "PATCH_INEFFECTIVE")},
    ),
    "removed_method": (
        ("peft", "0.15.2", "0.18.1"),
        "from peft import PeftModel\nPeftModel.set_additional_trainable_modules",
        {("BREAK", "MEMBER_REMOVED")},
    ),
    "unaffected_class": (
        ("peft", "0.18.1", "0.21.2"),
        "from peft import LoraConfig, get_peft_model\nget_peft_model(m, LoraConfig(r=8, lora_alpha=16))",
        set(),
    ),
}


@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", HISTORY)
def test_historical_upgrade_gives_the_findings_it_had(tmp_path, name):
    (package_name, old, new), client, expected = HISTORY[name]
    (tmp_path / "areal").mkdir()
    (tmp_path / "areal" / "client.py").write_text(client)
    package = find_package(package_name)
    result = audit_release(tmp_path, package, fetch(package, new), fetch(package, old))
    assert {(f.extra["status"], f.code) for f in result.findings if f.extra["status"] != "NOTE"} == expected


@pytest.mark.network
@pytest.mark.timeout(300)
def test_routes_fields_and_flags_of_real_servers_are_read():
    server = Server(Library(fetch(find_package("sglang"), "0.5.23").sources(), environment()), {})
    (route,) = [route for route in server.routes if route.path == "/generate" and "http_server" in route.module]
    assert {"input_ids", "sampling_params", "return_logprob", "stream"} <= set(server.fields(route) or ())
    assert {"--tp-size", "--mem-fraction-static", "--enable-metrics"} <= server.flags
    assert not {"--cuda-graph-max-bs", "--enable-nan-detection", "--torchao-config"} & server.flags
    vllm = Server(Library(fetch(find_package("vllm"), "0.32.0").sources(), environment()), {})
    (route,) = [route for route in vllm.routes if route.path == "/inference/v1/generate"]
    assert {"token_ids", "sampling_params"} <= set(vllm.fields(route) or ())
    assert {"--max-model-len", "--enforce-eager", "--weight-transfer-config"} <= vllm.flags
