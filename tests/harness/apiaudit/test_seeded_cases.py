# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Cases S1 to S26 of the evaluation: one change of a library each, and what the audit must say about it."""

import pytest

from tests.harness.apiaudit.fakelib import Case, codes

CALL = "import fakelib\n\n\ndef use(x):\n    return fakelib."
BREAK, WARN, NOTE, STALE = "BREAK", "WARN", "NOTE", "STALE"


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


SIMPLE = {
    "s1_renamed_parameter": (
        "def f(x, dtype=None): ...",
        "def f(x, torch_dtype=None): ...",
        CALL + "f(x, dtype=1)",
        [(BREAK, "PARAM_REMOVED")],
    ),
    "s2_removed_positional": (
        "def f(a, b, c): ...",
        "def f(a, b): ...",
        CALL + "f(x, x, x)",
        [(BREAK, "TOO_MANY_POSITIONAL")],
    ),
    "s3_new_required": (
        "def f(a): ...",
        "def f(a, *, mesh): ...",
        CALL + "f(x)",
        [(BREAK, "PARAM_NEW_REQUIRED")],
    ),
    "s6_removed_class": ("class X: ...", "class Y: ...", CALL + "X()", [(BREAK, "SYMBOL_REMOVED")]),
    "s7_inherited_from_elsewhere": (
        "import other\nclass X(other.Base):\n    def go(self): ...",
        "import other\nclass X(other.Base): ...",
        CALL + "X.go(x)",
        [],
    ),
    "s8_return_arity": (
        "def f(x) -> tuple[int, int]: ...",
        "def f(x) -> tuple[int, int, int]: ...",
        "import fakelib\na, b = fakelib.f(1)",
        [(BREAK, "RETURN_ARITY")],
    ),
    "s8_return_arity_without_annotation": (
        "def f(x):\n    return 1, 2",
        "def f(x):\n    return 1, 2, 3",
        "import fakelib\na, b = fakelib.f(1)",
        [(BREAK, "RETURN_ARITY")],
    ),
    "s9_result_loses_attribute": (
        "class Out:\n    loss: int\n    logits: int\ndef f() -> Out: ...",
        "class Out:\n    loss: int\ndef f() -> Out: ...",
        "import fakelib\nout = fakelib.f()\nprint(out.loss, out.logits)",
        [(BREAK, "MEMBER_REMOVED")],
    ),
    "s10_keyword_swallowed": (
        "def f(**kw):\n    return kw.pop('fast', None)",
        "def f(**kw):\n    return kw.pop('slow', None)",
        CALL + "f(fast=x)",
        [(WARN, "KWARG_SWALLOWED")],
    ),
    "s11_deprecated_keyword": (
        "def f(x, old=None): ...",
        "from .helpers import deprecate_kwarg\n@deprecate_kwarg('old', new_name='new')\ndef f(x, new=None): ...",
        CALL + "f(x, old=1)",
        [(NOTE, "PARAM_DEPRECATED")],
    ),
    "s13_replacement_lacks_parameter": (
        "class X:\n    def go(self, a): ...",
        "class X:\n    def go(self, a, skip=False): ...",
        "import fakelib\ndef ours(self, a): ...\nfakelib.X.go = ours",
        [(BREAK, "PATCH_SIGNATURE")],
    ),
    "s14_positional_rename": ("def f(a, b): ...", "def f(left, right): ...", CALL + "f(x, x)", []),
    "s15_override_gone": (
        "class Base:\n    def hook(self): ...",
        "class Base: ...",
        "import fakelib\nclass Ours(fakelib.Base):\n    def hook(self): ...\n    def own(self): ...",
        [(BREAK, "OVERRIDE_GONE")],
    ),
    "s16_dataclass_field_removed": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    a: int = 0\n    b: int = 0",
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    a: int = 0",
        CALL + "C(a=x, b=x)",
        [(BREAK, "PARAM_REMOVED")],
    ),
    "s16_dataclass_reordered": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    a: int = 0\n    b: int = 0",
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    b: int = 0\n    a: int = 0",
        CALL + "C(x, x)",
        [(NOTE, "PARAM_REORDERED"), (NOTE, "PARAM_REORDERED")],
    ),
    "s16_dataclass_keyword_only": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    a: int = 0",
        "from dataclasses import dataclass\n@dataclass(kw_only=True)\nclass C:\n    a: int = 0",
        CALL + "C(x)",
        [(BREAK, "TOO_MANY_POSITIONAL")],
    ),
    "s17_pydantic_allows": (
        "from pydantic import BaseModel\nclass M(BaseModel):\n    model_config = {'extra': 'allow'}\n    a: int = 0",
        "from pydantic import BaseModel\nclass M(BaseModel):\n    model_config = {'extra': 'allow'}\n    c: int = 0",
        CALL + "M(b=x)",
        [],
    ),
    "s17_pydantic_forbids": (
        "from pydantic import BaseModel\nclass M(BaseModel):\n    model_config = {'extra': 'forbid'}\n    a: int = 0",
        "from pydantic import BaseModel\nclass M(BaseModel):\n    model_config = {'extra': 'forbid'}\n    c: int = 0",
        CALL + "M(a=x)",
        [(BREAK, "PARAM_REMOVED")],
    ),
    "s18_one_branch_changes": (
        "if HAVE_TE:\n    def f(a, b=1): ...\nelse:\n    def f(a, b=1): ...",
        "if HAVE_TE:\n    def f(a, b=1): ...\nelse:\n    def f(a): ...",
        CALL + "f(x, b=2)",
        [],
    ),
    "s18_both_branches_change": (
        "if HAVE_TE:\n    def f(a, b=1): ...\nelse:\n    def f(a, b=1): ...",
        "if HAVE_TE:\n    def f(a, c=1): ...\nelse:\n    def f(a): ...",
        CALL + "f(x, b=2)",
        [(BREAK, "PARAM_REMOVED")],
    ),
    "s20_decorated_class_loses_method": (
        "def deco(c): return c\nclass X:\n    @classmethod\n    def make(cls): ...\nX = deco(X)",
        "def deco(c): return c\nclass X: ...\nX = deco(X)",
        CALL + "X.make()",
        [(BREAK, "MEMBER_REMOVED")],
    ),
    "s20_alias_loses_method": (
        "class B:\n    @classmethod\n    def make(cls): ...\nA = B",
        "class B: ...\nA = B",
        CALL + "A.make()",
        [(BREAK, "MEMBER_REMOVED")],
    ),
    "s23_default_changed": (
        "def f(x, length=256): ...",
        "def f(x, length=512): ...",
        CALL + "f(x)",
        [(NOTE, "DEFAULT_CHANGED")],
    ),
    "s23_default_changed_but_passed": (
        "def f(x, length=256): ...",
        "def f(x, length=512): ...",
        CALL + "f(x, length=1)",
        [],
    ),
    "s24_guarded_import": (
        "def f(): ...",
        "def g(): ...",
        "try:\n    from fakelib import f\nexcept ImportError:\n    f = None",
        [(NOTE, "STALE_GUARD")],
    ),
    "s26_unrelated_strings": (
        "seed = 1",
        "other = 1",
        "# fakelib.seed\nKEY = 'fakelib.seed'\nprint('fakelib.seed')",
        [],
    ),
    "string_names_a_module": (
        {"__init__.py": "", "old.py": ""},
        {"__init__.py": "", "new.py": ""},
        "import importlib\nimportlib.import_module('fakelib.old')",
        [(WARN, "SYMBOL_REMOVED")],
    ),
    "became_a_coroutine": (
        "def f(): ...",
        "async def f(): ...",
        "import fakelib\na, b = fakelib.f()",
        [(BREAK, "ASYNC_CHANGED")],
    ),
    "literal_removed": (
        "from typing import Literal\ndef f(mode: Literal['a', 'b']): ...",
        "from typing import Literal\ndef f(mode: Literal['a', 'c']): ...",
        CALL + "f(mode='b')",
        [(BREAK, "LITERAL_REMOVED")],
    ),
    "enum_member_removed": (
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2",
        "import enum\nclass E(enum.Enum):\n    A = 1",
        CALL + "E.B",
        [(BREAK, "MEMBER_REMOVED")],
    ),
    "own_parameter_falls_into_kwargs": (
        "from other import g\ndef f(x, dtype=None, **kw): return g(**kw)",
        "from other import g\ndef f(x, **kw): return g(**kw)",
        CALL + "f(x, dtype=1)",
        [(WARN, "KWARG_SWALLOWED")],
    ),
    "class_becomes_function": (
        "class Base: ...",
        "def Base(): ...",
        "import fakelib\nclass Ours(fakelib.Base): ...",
        [(BREAK, "KIND_CHANGED")],
    ),
    "already_wrong_before": (
        "def f(a): ...",
        "def f(a, b=1): ...",
        CALL + "f(x, z=1)",
        [(STALE, "PARAM_REMOVED")],
    ),
    "dynamic_module_loses_a_definition": (
        "def __getattr__(name): return compute(name)\ndef f(): ...",
        "def __getattr__(name): return compute(name)",
        CALL + "f()",
        [(BREAK, "SYMBOL_REMOVED")],
    ),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_change_of_a_library_gives_the_expected_findings(case, name):
    v1, v2, client, expected = SIMPLE[name]
    assert codes(case.audit(v1, v2, client)) == expected


def test_renamed_parameter_hints_at_the_new_name(case):
    v1, v2, client, _ = SIMPLE["s1_renamed_parameter"]
    (finding,) = case.audit(v1, v2, client).findings
    assert finding.extra["candidates"]["similar"] == ["torch_dtype"]
    assert finding.extra["old"]["signature"] == "(x, dtype=None)"
    assert finding.extra["new"]["signature"] == "(x, torch_dtype=None)"
    assert (finding.file, finding.line) == ("areal/client.py", 5)


def test_s4_moved_class_is_found_with_its_new_place(case):
    v1 = {"__init__.py": "", "a.py": "class X: ...", "b.py": ""}
    v2 = {"__init__.py": "", "a.py": "", "b.py": "class X: ..."}
    (finding,) = case.audit(v1, v2, "from fakelib.a import X").findings
    assert (finding.extra["status"], finding.code) == (BREAK, "SYMBOL_REMOVED")
    assert finding.extra["candidates"]["moved_to"] == ["fakelib.b.X"]


def test_s5_moved_class_with_reexport_is_silent(case):
    v1 = {"__init__.py": "", "a.py": "class X: ..."}
    v2 = {"__init__.py": "", "a.py": "from .b import X", "b.py": "class X: ..."}
    assert codes(case.audit(v1, v2, "from fakelib.a import X\nX()")) == []


def test_s7_undecided_usage_is_counted_and_never_clean(case):
    v1, v2, client, _ = SIMPLE["s7_inherited_from_elsewhere"]
    result = case.audit(v1, v2, client)
    assert result.stats["unverifiable"] == 1
    assert "other.Base" in result.unverifiable[0]["reason"]


def test_s12_patch_of_a_reexport_is_ineffective(case):
    v1 = {"__init__.py": "", "server.py": "def build(): ...\ndef main(): return build()"}
    v2 = {
        "__init__.py": "",
        "server.py": "from .app import build\n__all__ = ['build']",
        "app.py": "def build(): ...\ndef main(): return build()",
    }
    client = "from fakelib import server\ndef ours(): ...\nserver.build = ours"
    result = case.audit(v1, v2, client)
    assert codes(result) == [(BREAK, "PATCH_INEFFECTIVE")]
    assert result.findings[0].extra["candidates"]["moved_to"] == ["fakelib.app.build"]


def test_s12_patch_of_a_reexport_that_the_module_reads_is_silent(case):
    v1 = {"__init__.py": "", "server.py": "def build(): ...\ndef main(): return build()"}
    v2 = {
        "__init__.py": "",
        "server.py": "from .app import build\ndef main(): return build()",
        "app.py": "def build(): ...",
    }
    assert codes(case.audit(v1, v2, "from fakelib import server\ndef ours(): ...\nserver.build = ours")) == []


LAZY = {
    "getattr_map": {
        "__init__.py": "import importlib\n_MAP = {'X': '.inner:X'}\ndef __getattr__(name):\n"
        "    return load(_MAP[name])",
        "inner.py": "class X: ...",
    },
    "import_structure": {
        "__init__.py": "import sys\n_import_structure = {'inner': ['X']}\n"
        "sys.modules[__name__] = _LazyModule(__name__, _import_structure)",
        "inner.py": "class X: ...",
    },
    "lazy_import": {
        "__init__.py": "from .tools import LazyImport\nX = LazyImport('fakelib.inner', 'X')",
        "tools.py": "class LazyImport: ...",
        "inner.py": "class X: ...",
    },
    "module_alias": {
        "__init__.py": "import sys\nfrom . import inner\nsys.modules[__name__ + '.old'] = inner",
        "inner.py": "class X: ...",
    },
    "namespace_folder": {"deep/inner.py": "class X: ..."},
    "star_import": {"__init__.py": "from .inner import *", "inner.py": "__all__ = ['X']\nclass X: ..."},
    "typing_only_with_lazy": {
        "__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .inner import X\n"
        "else:\n    def __getattr__(name): return lazy(name)",
        "inner.py": "class X: ...",
    },
}
LAZY_CLIENTS = {"module_alias": "from fakelib.old import X", "namespace_folder": "from fakelib.deep.inner import X"}


@pytest.mark.parametrize("name", LAZY)
def test_s19_lazy_name_is_found_and_silent(case, name):
    result = case.audit(LAZY[name], LAZY[name], LAZY_CLIENTS.get(name, "from fakelib import X") + "\nX()")
    assert codes(result) == []
    assert result.stats["unverifiable"] == 0


@pytest.mark.parametrize("name", ["getattr_map", "import_structure", "namespace_folder", "star_import"])
def test_s19_name_that_a_lazy_map_lacks_is_removed(case, name):
    gone = {path: text.replace("'X'", "'Y'").replace("class X", "class Y") for path, text in LAZY[name].items()}
    result = case.audit(LAZY[name], gone, LAZY_CLIENTS.get(name, "from fakelib import X"))
    assert codes(result) == [(BREAK, "SYMBOL_REMOVED")]


SERVER = """
from fastapi import APIRouter, Body
from pydantic import BaseModel
from typing import Annotated
router = APIRouter()

class Sampling(BaseModel):
    temperature: float = 1.0

class GenerateRequest(BaseModel):
    input_ids: list[int]
    sampling_params: Sampling | None = None

@router.post("/generate")
async def generate(request: GenerateRequest): ...

@router.api_route("/pause", methods=["POST", "PUT"])
async def pause(mode: str): ...
"""
CLIENT = """
def build(ids):
    sampling = {"temperature": 0.5}
    payload = {"input_ids": ids, "sampling_params": sampling}
    return HttpRequest(endpoint="/generate", payload=payload)

def pause():
    return HttpRequest(endpoint="/pause", payload={"mode": "keep"})
"""
SERVER_CHANGES = {
    "unchanged": ("", "", []),
    "route_renamed": ('"/generate"', '"/v2/generate"', [(BREAK, "ROUTE_REMOVED")]),
    "method_changed": ('methods=["POST", "PUT"]', 'methods=["PUT"]', [(BREAK, "ROUTE_REMOVED")]),
    "field_removed": ("input_ids: list[int]", "prompt: str = ''", [(BREAK, "FIELD_REMOVED")]),
    "nested_field_removed": ("temperature: float = 1.0", "temp: float = 1.0", [(BREAK, "FIELD_REMOVED")]),
    "body_annotated": ("request: GenerateRequest)", "request: Annotated[GenerateRequest, Body()])", []),
    "router_with_prefix": ("APIRouter()", 'APIRouter(prefix="/api")', [(BREAK, "ROUTE_REMOVED")] * 2),
}


@pytest.mark.parametrize("name", SERVER_CHANGES)
def test_s21_change_of_a_route_is_found_at_our_client(case, name):
    old, new, expected = SERVER_CHANGES[name]
    changed = SERVER.replace(old, new) if old else SERVER
    result = case.audit({"server.py": SERVER}, {"server.py": changed}, CLIENT, name="areal/engine/fakelib_remote.py")
    assert codes(result) == expected
    assert result.stats["unverifiable"] == 0


def test_s21_request_without_declared_fields_is_unverifiable(case):
    server = SERVER.replace("request: GenerateRequest", "raw_request: Request")
    result = case.audit({"server.py": server}, {"server.py": server}, CLIENT, name="areal/engine/fakelib_remote.py")
    assert codes(result) == []
    assert result.stats["unverifiable"] == 1


def test_s21_route_of_another_server_without_fields_does_not_hide_a_lost_field(case):
    other = (
        "from fastapi import APIRouter\nrouter = APIRouter()\n@router.post('/generate')\nasync def g(raw: Request): ..."
    )
    v1 = {"server.py": SERVER, "other.py": other}
    v2 = {"server.py": SERVER.replace("input_ids: list[int]", "prompt: str = ''"), "other.py": other}
    assert codes(case.audit(v1, v2, CLIENT, name="areal/engine/fakelib_remote.py")) == [(BREAK, "FIELD_REMOVED")]


FLAGS = "def add(p):\n    p.add_argument('--tp-size')\n    p.add_argument('--enable-metrics', action=BooleanOptionalAction)\n"


def test_s22_removed_flag_is_found_and_negation_is_silent(case):
    client = "ARGS = ['--tp-size', '8', '--no-enable-metrics']\n"
    without = FLAGS.replace("--tp-size", "--tensor-parallel-size")
    name = "areal/infra/fakelib_server.py"
    assert codes(case.audit({"args.py": FLAGS}, {"args.py": FLAGS}, client, name=name)) == []
    assert codes(case.audit({"args.py": FLAGS}, {"args.py": without}, client, name=name)) == [(BREAK, "FLAG_REMOVED")]


SHADOWED = """
import fakelib as p
from fakelib import f as g

def inner():
    from fakelib import h
    return h(1)

def shadowed(p):
    return p.gone()

def loop():
    for g in range(3):
        g.gone()

print(p.f(1), g(2))
"""


def test_s25_aliases_and_shadowed_names_are_told_apart(case):
    v1 = "def f(a): ...\ndef h(a): ..."
    v2 = "def f(a, *, b): ...\ndef h(a, *, b): ..."
    result = case.audit(v1, v2, SHADOWED)
    found = sorted((f.extra["symbol"], site["line"]) for f in result.findings for site in f.extra["sites"])
    assert found == [("fakelib.f", 16), ("fakelib.f", 16), ("fakelib.h", 7)]


STRING_GUARD = """
import fakelib
name = "new" if str(fakelib.__version__) >= "2.6" else "old"
fakelib.f(**{name: 1})
"""


def test_version_compared_as_string_binds_the_branch_that_really_runs(tmp_path):
    library = "__version__ = ''\ndef f(new=None): ..."
    case = Case(tmp_path, versions=("2.9", "2.10"))
    found = codes(case.audit(library, library, STRING_GUARD))
    assert (BREAK, "GUARD_STRING_COMPARISON") in found
    assert (BREAK, "PARAM_REMOVED") in found


def test_version_compared_as_version_binds_the_right_branch(tmp_path):
    library = "__version__ = ''\ndef f(new=None): ..."
    client = "from packaging.version import Version\n" + STRING_GUARD.replace(
        'str(fakelib.__version__) >= "2.6"', 'Version(fakelib.__version__) >= Version("2.6")'
    )
    case = Case(tmp_path, versions=("2.9", "2.10"))
    assert codes(case.audit(library, library, client)) == [(NOTE, "GUARD_DEAD")]


def test_code_behind_a_version_test_is_judged_only_where_it_runs(case):
    client = """
    import fakelib
    from packaging.version import Version
    if Version(fakelib.__version__) >= Version("2.0"):
        fakelib.new()
    else:
        fakelib.old()
    """
    result = case.audit("__version__ = ''\ndef old(): ...", "__version__ = ''\ndef new(): ...", client)
    assert codes(result) == []
    assert result.stats["inactive"] == 1
