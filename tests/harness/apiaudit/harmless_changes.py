# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rewrites of a library that the client does not notice: before, after, the client."""

from tests.harness.apiaudit.breaking_changes import ENTER, METHOD, USE

HARMLESS = {
    "annotations_added": ("def f(a, b=1): ...", "def f(a: int, b: int = 1) -> int: ...", USE + "f(x, b=2)"),
    "body_moved_behind_underscore": ("def f(a): ...", "def _f(a): ...\nf = _f", USE + "f(x)"),
    "partial_in_its_place": (
        "def f(a, b=1): ...",
        "import functools\ndef _f(a, b=1): ...\nf = functools.partial(_f, b=2)",
        USE + "f(x)",
    ),
    "lambda_in_its_place": ("def f(a): ...", "f = lambda a: a", USE + "f(x)"),
    "callable_instance_in_its_place": (
        "def f(a): ...",
        "class _F:\n    def __call__(self, a): ...\nf = _F()",
        USE + "f(x)",
    ),
    "class_in_its_place": ("def f(a): ...", "class f:\n    def __init__(self, a): ...", USE + "f(x)"),
    "wraps_decorator_added": (
        "def f(a): ...",
        "import functools\ndef deco(g):\n    @functools.wraps(g)\n    def inner(*a, **k): return g(*a, **k)\n    return inner\n@deco\ndef f(a): ...",
        USE + "f(x)",
    ),
    "cache_added": (
        "def f(a): ...",
        "import functools\n@functools.lru_cache(maxsize=None)\ndef f(a): ...",
        USE + "f(x)",
    ),
    "overloads_added": (
        "def f(a, b=0): ...",
        "from typing import overload\n@overload\ndef f(a: int): ...\n@overload\ndef f(a: int, b: int): ...\ndef f(a, b=0): ...",
        USE + "f(x, 2)",
    ),
    "module_becomes_package": (
        {"__init__.py": "", "a.py": "def f(): ..."},
        {"__init__.py": "", "a/__init__.py": "from .b import f", "a/b.py": "def f(): ..."},
        "from fakelib.a import f\nf()",
    ),
    "behind_lazy_table": (
        {"__init__.py": "from .inner import X", "inner.py": "class X: ..."},
        {
            "__init__.py": "import importlib\n_T = {'X': 'fakelib.inner'}\ndef __getattr__(n):\n    return getattr(importlib.import_module(_T[n]), n)",
            "inner.py": "class X: ...",
        },
        "from fakelib import X\nX()",
    ),
    "behind_lazy_if": (
        {"__init__.py": "from .inner import X", "inner.py": "class X: ..."},
        {
            "__init__.py": "def __getattr__(n):\n    if n == 'X':\n        from .inner import X\n        return X\n    raise AttributeError(n)",
            "inner.py": "class X: ...",
        },
        "from fakelib import X\nX()",
    ),
    "behind_lazy_membership": (
        {"__init__.py": "from .inner import X", "inner.py": "class X: ..."},
        {
            "__init__.py": "_N = {'X'}\ndef __getattr__(n):\n    if n in _N:\n        from . import inner\n        return getattr(inner, n)\n    raise AttributeError(n)",
            "inner.py": "class X: ...",
        },
        "from fakelib import X\nX()",
    ),
    "behind_lazy_loader": (
        {"__init__.py": "from .inner import X", "inner.py": "class X: ..."},
        {
            "__init__.py": "import lazy_loader\n__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={'inner': ['X']})",
            "inner.py": "class X: ...",
        },
        "from fakelib import X\nX()",
    ),
    "behind_star": (
        {"__init__.py": "from .inner import X", "inner.py": "class X: ..."},
        {"__init__.py": "from .inner import *", "inner.py": "class X: ..."},
        "from fakelib import X\nX()",
    ),
    "import_in_try": (
        {"__init__.py": "from .inner import X", "inner.py": "class X: ..."},
        {
            "__init__.py": "try:\n    from .inner import X\nexcept ImportError:\n    X = None",
            "inner.py": "class X: ...",
        },
        "from fakelib import X\nX()",
    ),
    "attribute_turned_property": (
        "class C:\n    def __init__(self):\n        self.size = 1",
        "class C:\n    @property\n    def size(self): ...",
        METHOD + "print(made.size)",
    ),
    "property_turned_attribute": (
        "class C:\n    @property\n    def size(self): ...",
        "class C:\n    size: int = 1",
        METHOD + "print(made.size)",
    ),
    "property_returns_a_callable": (
        "class C:\n    def run(self): ...",
        "from typing import Callable\nclass C:\n    @property\n    def run(self) -> Callable[[], int]: ...",
        METHOD + "made.run()",
    ),
    "method_moved_to_base": (
        "class C:\n    def go(self, a): ...",
        "class A:\n    def go(self, a): ...\nclass C(A): ...",
        METHOD + "made.go(1)",
    ),
    "init_written_out": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    a: int = 0",
        "class C:\n    def __init__(self, a=0): self.a = a",
        USE + "C(a=1).a",
    ),
    "init_becomes_dataclass": (
        "class C:\n    def __init__(self, a=0): self.a = a",
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    a: int = 0",
        USE + "C(a=1).a",
    ),
    "optional_parameter_at_the_end": ("def f(a, b=1): ...", "def f(a, b=1, c=2): ...", USE + "f(x, 2)"),
    "keyword_only_mark_behind_ours": ("def f(a, b=1): ...", "def f(a, *, b=1): ...", USE + "f(x, b=2)"),
    "positional_only_mark_before_ours": ("def f(a, b=1): ...", "def f(a, /, b=1): ...", USE + "f(x, b=2)"),
    "parameters_swapped_but_named": ("def f(a, b): ...", "def f(b, a): ...", USE + "f(a=x, b=2)"),
    "method_turned_classmethod": (
        "class C:\n    def go(self, a): ...",
        "class C:\n    @classmethod\n    def go(cls, a): ...",
        METHOD + "made.go(1)",
    ),
    "method_turned_staticmethod": (
        "class C:\n    def go(self, a): ...",
        "class C:\n    @staticmethod\n    def go(a): ...",
        METHOD + "made.go(1)",
    ),
    "classmethod_turned_staticmethod": (
        "class C:\n    @classmethod\n    def go(cls, a): ...",
        "class C:\n    @staticmethod\n    def go(a): ...",
        USE + "C.go(x)",
    ),
    "context_manager_class_in_its_place": (
        ENTER + "@contextlib.contextmanager\ndef f():\n    yield 1",
        "class f:\n    def __enter__(self): ...\n    def __exit__(self, *a): ...",
        "import fakelib\nwith fakelib.f() as a:\n    print(a)",
    ),
    "context_manager_from_base": (
        "class C:\n    def __enter__(self): ...\n    def __exit__(self, *a): ...",
        "import contextlib\nclass C(contextlib.ExitStack): ...",
        "import fakelib\nwith fakelib.C() as a:\n    print(a)",
    ),
    "function_returns_a_context_manager": (
        ENTER + "@contextlib.contextmanager\ndef f():\n    yield 1",
        ENTER + "def f() -> contextlib.AbstractContextManager[int]:\n    return contextlib.nullcontext(1)",
        "import fakelib\nwith fakelib.f() as a:\n    print(a)",
    ),
    "abstract_methods_that_ours_defines": (
        "class B:\n    def go(self): ...",
        "import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...",
        "import fakelib\nclass Ours(fakelib.B):\n    def go(self): ...",
    ),
    "named_tuple_for_tuple": (
        "def f() -> tuple[int, int]: ...",
        "from typing import NamedTuple\nclass R(NamedTuple):\n    a: int\n    b: int\ndef f() -> R: ...",
        "import fakelib\na, b = fakelib.f()",
    ),
    "values_of_unknown_length": (
        "def f() -> tuple[int, int]: ...",
        "def f() -> list[int]: ...",
        "import fakelib\na, b = fakelib.f()",
    ),
    "awaitable_from_plain_function": (
        "async def f(): ...",
        "from typing import Awaitable\ndef f() -> Awaitable[int]: ...",
        "import fakelib\nasync def use():\n    return await fakelib.f()",
    ),
    "raises_in_one_branch": (
        "def f(a): return a",
        "def f(a):\n    if a:\n        raise ValueError(a)\n    return a",
        USE + "f(x)",
    ),
    "interface_raised_before_too": (
        "def f(a): raise NotImplementedError",
        "def f(a):\n    '''Doc.'''\n    raise NotImplementedError",
        USE + "f(x)",
    ),
    "deleted_loop_variable": ("def f(): ...", "def f(): ...\nfor name in ('a',):\n    pass\ndel name", USE + "f()"),
    "deleted_and_defined_again": ("def f(): ...", "f = 1\ndel f\ndef f(): ...", USE + "f()"),
    "class_read_as_value": ("class C: ...", "class C:\n    '''New doc.'''", "import fakelib\nKINDS = {fakelib.C: 1}"),
    "function_passed_on": ("def f(): ...", "def f(*, a=1): ...", "import fakelib\nmap(fakelib.f, [])"),
    "property_with_setter_kept": (
        "class C:\n    def __init__(self):\n        self.size = 1",
        "class C:\n    @property\n    def size(self): ...\n    @size.setter\n    def size(self, value): ...",
        METHOD + "made.size = 3",
    ),
}
