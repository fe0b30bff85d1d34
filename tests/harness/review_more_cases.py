# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""More changes for `test_review.py`: faults in other words, and what looks like them."""

from __future__ import annotations

from tests.harness.git_tree import FILES
from tests.harness.review_cases import core, test_file

HOME, MOUNT = "/" + "home", "/" + "mnt"

IN_OTHER_WORDS = [
    ("R010", core(f'x = f"{HOME}/alice/{{x}}"', "return x")),
    ("R010", core("import pathlib", f'return pathlib.Path("/{"data1"}/models/qwen")')),
    (
        "R010",
        {
            "examples/run.sh": f"#!/bin/sh\nMODEL={MOUNT}/nfs/me/qwen python x.py\n",
            "README.md": FILES["README.md"] + "examples/run.sh\n",
        },
    ),
    ("R010", core(f'return "/{"root"}/ckpt/x"')),
    ("R010", core(f'return "file://{HOME}/bob/x"')),
    ("R011", core("import importlib", 'return importlib.import_module("tests.helpers")')),
    ("R011", core("from pathlib import Path", 'return Path(__file__).parents[2] / "tests" / "data"')),
    ("R011", core("import sys", 'sys.path.insert(0, "tests")', "return x")),
    ("R012", {"examples/alone.yaml": "a: 1\n"}),
    ("R018", test_file("def test_gpu():", '    x = torch.randn(2, device="cuda:0")', "    assert x.sum() == 0")),
    ("R018", test_file("def test_gpu():", '    x = torch.randn(2).to(device="cuda")', "    assert x.sum() == 0")),
    ("R018", test_file("def test_gpu():", "    assert torch.randn(2).cuda(0).sum() == 0")),
    (
        "R018",
        test_file(
            '@pytest.mark.parametrize("device", ["cuda"])',
            "def test_gpu(device):",
            "    assert torch.randn(2, device=device).sum() == 0",
        ),
    ),
    ("R018", test_file("DEVICE = 'cuda'", "def test_gpu():", "    assert torch.randn(2, device=DEVICE).sum() == 0")),
    (
        "R018",
        test_file("def test_gpu():", '    with torch.device("cuda"):', "        assert torch.randn(2).sum() == 0"),
    ),
    ("R022", core("is_zero = dist.get_rank() == 0", "if is_zero:", "    dist.barrier()", "return x")),
    (
        "R022",
        core(
            "if dist.get_rank() == 0:",
            "    save(x)",
            "elif dist.get_rank() == 1:",
            "    dist.all_reduce(x)",
            "return x",
        ),
    ),
    ("R022", core("def save(y):", "    dist.barrier()", "if rank == 0:", "    save(x)", "return x")),
    ("R022", core("match rank:", "    case 0:", "        dist.all_reduce(x)", "return x")),
    ("R022", core("try:", "    x.check()", "except ValueError:", "    dist.all_reduce(x)", "return x")),
    ("R022", core("for item in items[rank:]:", "    dist.all_reduce(item)", "return x")),
    ("R022", core("if not rank:", "    dist.broadcast(x, src=0)", "return x")),
    ("R022", core("if mesh.get_local_rank() == 0:", "    dist.all_gather_into_tensor(x, x)", "return x")),
    ("R022", core("if rank != 0:", "    raise ValueError('x')", "dist.barrier()", "return x")),
    ("R022", core("if int(os.environ['RANK']) == 0:", "    dist.barrier()", "return x")),
    ("R022", core("zero = rank == 0", "return dist.all_reduce(x) if zero else x")),
    ("R023", test_file("def test_true():", "    torch.zeros(1)", "    assert True")),
    ("R023", test_file("def test_or_true():", "    x = torch.zeros(1)", "    assert x.sum() == 1 or True")),
    ("R023", test_file("def test_len():", "    x = torch.zeros(1)", "    assert len(x) >= 0")),
    ("R023", test_file("def test_tuple():", "    x = torch.zeros(1)", "    assert (x.sum() == 1, 'wrong')")),
    (
        "R023",
        test_file(
            "def test_swallow():",
            "    try:",
            "        assert torch.zeros(1).sum() == 1",
            "    except AssertionError:",
            "        pass",
        ),
    ),
    ("R023", test_file("def test_print():", "    print(torch.zeros(1))")),
    ("R023", test_file("def test_compare():", "    torch.zeros(1).sum() == 0")),
    ("R023", test_file("def test_not_none():", "    def inner():", "        assert torch", "    x = 1")),
    ("R024", test_file("def test_skip():", "    pytest.skip()", "    assert torch")),
    ("R024", test_file("@pytest.mark.skip()", "def test_skip():", "    assert torch")),
    ("R024", test_file("@pytest.mark.xfail(strict=True)", "def test_skip():", "    assert torch")),
    ("R024", test_file("pytestmark = pytest.mark.skip", "def test_skip():", "    assert torch")),
    ("R024", test_file("pytest.skip(allow_module_level=True)", "def test_skip():", "    assert torch")),
    ("R024", test_file("@pytest.mark.skipif(True, reason='')", "def test_skip():", "    assert torch")),
    ("R024", test_file("@pytest.mark.skipif(True)", "def test_skip():", "    assert torch")),
    (
        "R024",
        test_file(
            "@pytest.mark.parametrize('a', [pytest.param(1, marks=pytest.mark.skip)])",
            "def test_skip(a):",
            "    assert torch",
        ),
    ),
    ("R024", test_file("@pytest.mark.skip(reason='TODO')", "def test_skip():", "    assert torch")),
]

LOOKS_ALIKE = [
    core("zero = dist.get_rank() == 0", "if zero:", "    save(x)", "dist.barrier()", "return x"),
    core("if rank == 0:", "    dist.send(x, 1)", "else:", "    dist.recv(x, 0)", "return x"),
    core("if rank == 0:", "    y = x", "else:", "    y = None", "dist.broadcast_object_list([y], src=0)", "return x"),
    core(
        "try:", "    x.check()", "except ValueError as error:", "    problem = error", "dist.all_reduce(x)", "return x"
    ),
    core("if dist.get_world_size() > 1:", "    dist.all_reduce(x)", "return x"),
    core("if rank in group_ranks:", "    dist.all_reduce(x, group=group)", "return x"),
    core("def on_zero():", "    return x", "if rank == 0:", "    on_zero()", "return x"),
    core("if rank == 0:", "    functools.reduce(add, x)", "return x"),
    core('return "/v1/chat/completions"'),
    core('return open("/dev/null")'),
    core(f'url = "https://host{HOME}/alice/x"', "return url"),
    core('return "/tmp/x"'),
    core('return "/generate"'),
    core("# see tests/engine/test_core.py", "return x"),
    test_file("def test_helper():", "    check(torch.zeros(1))", "", "", "def check(x):", "    assert x.sum() == 0"),
    test_file("def test_raises():", "    with pytest.raises(ValueError):", "        torch.zeros('a')"),
    test_file("def test_close():", "    torch.testing.assert_close(torch.zeros(1), torch.zeros(1))"),
    test_file("def test_loop():", "    for x in range(3):", "        assert torch.zeros(1).sum() == 0"),
    test_file("def test_none():", "    assert torch.zeros(1) is not None"),
    test_file(
        "def test_idempotent():", "    x = torch.zeros(1)", "    assert f(x) == f(f(x))", "def f(x):", "    return x"
    ),
    test_file("def test_deterministic():", "    assert f(1) == f(1)", "def f(x):", "    return x"),
    test_file("@pytest.mark.gpu", "def test_gpu():", "    assert torch.zeros(1, device='cuda').sum() == 0"),
    test_file("def test_cpu():", "    assert str(torch.device('cuda')) == 'cuda'"),
    test_file(
        "@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')",
        "def test_gpu():",
        "    assert torch.zeros(1).cuda().sum() == 0",
    ),
    test_file(
        "def test_skip():",
        "    if not torch.cuda.is_available():",
        "        pytest.skip('needs a GPU')",
        "    assert torch.zeros(1).cuda().sum() == 0",
    ),
    test_file(
        "@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])",
        "def test_both(device):",
        "    assert torch.zeros(1, device=device).sum() == 0",
    ),
    test_file(
        "def test_error():",
        "    try:",
        "        torch.zeros('a')",
        "    except TypeError as error:",
        "        assert 'str' in str(error)",
    ),
]
