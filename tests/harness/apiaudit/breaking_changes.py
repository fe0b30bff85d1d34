# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Changes that break a client although the name stays: the library before, after, the client, the code of the finding."""

USE = "import fakelib\n\n\ndef use(x):\n    return fakelib."
METHOD = "import fakelib\nmade = fakelib.C()\n"
ENTER = "import contextlib\n"

BREAKS = {
    "keyword_becomes_positional_only": (
        "def f(a, b=1): ...",
        "def f(a, b=1, /): ...",
        USE + "f(x, b=2)",
        "PARAM_REMOVED",
    ),
    "positional_becomes_keyword_only": (
        "def f(a, b=1): ...",
        "def f(a, *, b=1): ...",
        USE + "f(x, 2)",
        "TOO_MANY_POSITIONAL",
    ),
    "default_removed": ("def f(a, b=1): ...", "def f(a, b): ...", USE + "f(x)", "PARAM_NEW_REQUIRED"),
    "keyword_only_default_removed": (
        "def f(a, *, b=1): ...",
        "def f(a, *, b): ...",
        USE + "f(x)",
        "PARAM_NEW_REQUIRED",
    ),
    "varargs_dropped": ("def f(*a): ...", "def f(a): ...", USE + "f(x, x)", "TOO_MANY_POSITIONAL"),
    "kwargs_dropped": ("def f(a, **kw): return g(**kw)", "def f(a): ...", USE + "f(x, b=1)", "PARAM_REMOVED"),
    "parameters_swapped": ("def f(a, b): ...", "def f(b, a): ...", USE + "f(x, 1)", "PARAM_REORDERED"),
    "parameter_inserted_before_ours": (
        "def f(a, b=1): ...",
        "def f(a, c=0, b=1): ...",
        USE + "f(x, 2)",
        "PARAM_REORDERED",
    ),
    "keyword_also_filled_by_position": ("def f(a, b=1): ...", "def f(b, a=1): ...", USE + "f(x, b=2)", "PARAM_TWICE"),
    "overload_removed": (
        "from typing import overload\n@overload\ndef f(a: int): ...\n@overload\ndef f(a: int, b: int): ...\ndef f(a, b=0): ...",
        "def f(a): ...",
        USE + "f(x, 2)",
        "TOO_MANY_POSITIONAL",
    ),
    "method_turned_property": (
        "class C:\n    def size(self) -> int: ...",
        "class C:\n    @property\n    def size(self) -> int: ...",
        METHOD + "made.size()",
        "KIND_CHANGED",
    ),
    "method_turned_cached_property": (
        "class C:\n    def size(self): ...",
        "from functools import cached_property\nclass C:\n    @cached_property\n    def size(self): ...",
        METHOD + "made.size()",
        "KIND_CHANGED",
    ),
    "property_turned_method": (
        "class C:\n    @property\n    def size(self): ...",
        "class C:\n    def size(self): ...",
        METHOD + "print(made.size + 1)",
        "KIND_CHANGED",
    ),
    "attribute_turned_method": (
        "class C:\n    def __init__(self):\n        self.size = 1",
        "class C:\n    def size(self): ...",
        METHOD + "print(made.size + 1)",
        "KIND_CHANGED",
    ),
    "constant_turned_function": ("LIMIT = 3", "def LIMIT(): ...", USE + "LIMIT + 1", "KIND_CHANGED"),
    "function_turned_constant": ("def limit(): ...", "limit = 3", USE + "limit()", "KIND_CHANGED"),
    "function_turned_none": ("def f(): ...", "f = None", USE + "f()", "KIND_CHANGED"),
    "function_turned_module": ("def f(): ...", {"__init__.py": "", "f.py": ""}, USE + "f()", "KIND_CHANGED"),
    "class_turned_function_in_isinstance": (
        "class C: ...",
        "def C(): ...",
        USE.replace("return ", "return isinstance(x, ") + "C)",
        "KIND_CHANGED",
    ),
    "class_turned_function_in_except": (
        "class E(Exception): ...",
        "def E(): ...",
        "import fakelib\ntry:\n    pass\nexcept fakelib.E:\n    pass",
        "KIND_CHANGED",
    ),
    "classmethod_turned_method": (
        "class C:\n    @classmethod\n    def make(cls, a): ...",
        "class C:\n    def make(self, a): ...",
        USE + "C.make(x)",
        "PARAM_NEW_REQUIRED",
    ),
    "staticmethod_turned_method": (
        "class C:\n    @staticmethod\n    def make(a): ...",
        "class C:\n    def make(self, a): ...",
        USE + "C.make(x)",
        "PARAM_NEW_REQUIRED",
    ),
    "staticmethod_without_arguments_turned_method": (
        "class C:\n    @staticmethod\n    def make(): ...",
        "class C:\n    def make(self): ...",
        USE + "C.make()",
        "PARAM_NEW_REQUIRED",
    ),
    "classmethod_with_optional_turned_method": (
        "class C:\n    @classmethod\n    def make(cls, a=0): ...",
        "class C:\n    def make(self, a=0): ...",
        USE + "C.make(x)",
        "PARAM_REORDERED",
    ),
    "function_turned_coroutine": (
        "class R:\n    a = 1\ndef f() -> R: ...",
        "class R:\n    a = 1\nasync def f() -> R: ...",
        "import fakelib\nprint(fakelib.f().a)",
        "ASYNC_CHANGED",
    ),
    "function_turned_coroutine_statement": (
        "def f(): ...",
        "async def f(): ...",
        "import fakelib\nfakelib.f()",
        "ASYNC_CHANGED",
    ),
    "coroutine_turned_function": (
        "async def f(): ...",
        "def f(): ...",
        "import fakelib\nasync def use():\n    return await fakelib.f()",
        "ASYNC_CHANGED",
    ),
    "function_turned_generator_unpacked": (
        "def f() -> tuple[int, int]:\n    return 1, 2",
        "def f() -> tuple[int, int, int]:\n    return 1, 2, 3",
        "import fakelib\nfor a, b in [fakelib.f()]: ...\na, b = fakelib.f()",
        "RETURN_ARITY",
    ),
    "context_manager_decorator_removed": (
        ENTER + "@contextlib.contextmanager\ndef f():\n    yield 1",
        ENTER + "def f():\n    yield 1",
        "import fakelib\nwith fakelib.f() as a:\n    print(a)",
        "CONTEXT_CHANGED",
    ),
    "context_manager_class_loses_enter": (
        "class C:\n    def __enter__(self): ...\n    def __exit__(self, *a): ...",
        "class C:\n    def close(self): ...",
        "import fakelib\nwith fakelib.C() as a:\n    print(a)",
        "CONTEXT_CHANGED",
    ),
    "context_manager_gives_another_class": (
        "class A:\n    size = 1\nclass B: ...\nclass C:\n    def __enter__(self) -> A: ...\n    def __exit__(self, *a): ...",
        "class A:\n    size = 1\nclass B: ...\nclass C:\n    def __enter__(self) -> B: ...\n    def __exit__(self, *a): ...",
        "import fakelib\nwith fakelib.C() as a:\n    print(a.size)",
        "MEMBER_REMOVED",
    ),
    "context_manager_function_gives_another_class": (
        ENTER
        + "from typing import Iterator\nclass A:\n    size = 1\nclass B: ...\n@contextlib.contextmanager\ndef f() -> Iterator[A]: ...",
        ENTER
        + "from typing import Iterator\nclass A:\n    size = 1\nclass B: ...\n@contextlib.contextmanager\ndef f() -> Iterator[B]: ...",
        "import fakelib\nwith fakelib.f() as a:\n    print(a.size)",
        "MEMBER_REMOVED",
    ),
    "result_becomes_another_class": (
        "class A:\n    size = 1\nclass B: ...\ndef f() -> A: ...",
        "class A:\n    size = 1\nclass B: ...\ndef f() -> B: ...",
        "import fakelib\nprint(fakelib.f().size)",
        "MEMBER_REMOVED",
    ),
    "base_class_dropped": (
        "class A:\n    def go(self): ...\nclass C(A): ...",
        "class A:\n    def go(self): ...\nclass C: ...",
        METHOD + "made.go()",
        "MEMBER_REMOVED",
    ),
    "reexport_dropped": (
        {"__init__.py": "from .inner import X", "inner.py": "class X: ..."},
        {"__init__.py": "", "inner.py": "class X: ..."},
        "from fakelib import X",
        "SYMBOL_REMOVED",
    ),
    "reexport_only_for_typing": (
        {"__init__.py": "from .inner import X", "inner.py": "class X: ..."},
        {
            "__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .inner import X",
            "inner.py": "class X: ...",
        },
        "from fakelib import X",
        "SYMBOL_REMOVED",
    ),
    "left_out_of_all_behind_star": (
        {"__init__.py": "from .inner import *", "inner.py": "__all__ = ['X', 'Y']\nclass X: ...\nclass Y: ..."},
        {"__init__.py": "from .inner import *", "inner.py": "__all__ = ['Y']\nclass X: ...\nclass Y: ..."},
        "from fakelib import X",
        "SYMBOL_REMOVED",
    ),
    "left_out_of_lazy_table": (
        {
            "__init__.py": "_T = {'X': '.inner', 'Y': '.inner'}\ndef __getattr__(n): return load(_T[n])",
            "inner.py": "class X: ...\nclass Y: ...",
        },
        {
            "__init__.py": "_T = {'Y': '.inner'}\ndef __getattr__(n): return load(_T[n])",
            "inner.py": "class X: ...\nclass Y: ...",
        },
        "from fakelib import X",
        "SYMBOL_REMOVED",
    ),
    "left_out_of_lazy_set": (
        {
            "__init__.py": "def __getattr__(n):\n    if n == 'X':\n        from .inner import X\n        return X\n    raise AttributeError(n)",
            "inner.py": "class X: ...",
        },
        {
            "__init__.py": "def __getattr__(n):\n    if n == 'Y':\n        from .inner import Y\n        return Y\n    raise AttributeError(n)",
            "inner.py": "class X: ...\nclass Y: ...",
        },
        "from fakelib import X",
        "SYMBOL_REMOVED",
    ),
    "lazy_table_names_a_missing_module": (
        {"__init__.py": "_T = {'X': '.inner'}\ndef __getattr__(n): return load(_T[n])", "inner.py": "class X: ..."},
        {"__init__.py": "_T = {'X': '.inner'}\ndef __getattr__(n): return load(_T[n])", "other.py": "class X: ..."},
        "from fakelib import X",
        "SYMBOL_REMOVED",
    ),
    "deleted_at_the_end": ("def f(): ...", "def f(): ...\ndel f", USE + "f()", "SYMBOL_REMOVED"),
    "module_removed": ({"__init__.py": "", "a.py": "X = 1"}, {"__init__.py": ""}, "import fakelib.a", "SYMBOL_REMOVED"),
    "constant_removed": ("LIMIT = 1", "", "from fakelib import LIMIT", "SYMBOL_REMOVED"),
    "moved_into_a_class": ("def f(): ...", "class C:\n    def f(self): ...", USE + "f()", "SYMBOL_REMOVED"),
    "instance_attribute_removed": (
        "class C:\n    def __init__(self):\n        self.size = 1",
        "class C:\n    def __init__(self):\n        self.length = 1",
        METHOD + "print(made.size)",
        "MEMBER_REMOVED",
    ),
    "dataclass_default_removed": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    a: int = 0",
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    a: int",
        USE + "C()",
        "PARAM_NEW_REQUIRED",
    ),
    "dataclass_field_made_init_false": (
        "from dataclasses import dataclass, field\n@dataclass\nclass C:\n    a: int = 0",
        "from dataclasses import dataclass, field\n@dataclass\nclass C:\n    a: int = field(default=0, init=False)",
        USE + "C(a=1)",
        "PARAM_REMOVED",
    ),
    "dataclass_turned_model": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    a: int = 0",
        "from pydantic import BaseModel\nclass C(BaseModel):\n    a: int = 0",
        USE + "C(1)",
        "TOO_MANY_POSITIONAL",
    ),
    "method_now_abstract_in_base": (
        "import abc\nclass B(abc.ABC):\n    def go(self): ...",
        "import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...\n    @abc.abstractmethod\n    def stop(self): ...",
        "import fakelib\nclass Ours(fakelib.B):\n    def go(self): ...",
        "ABSTRACT_METHOD",
    ),
    "class_turned_abstract": (
        "class C:\n    def go(self): ...",
        "import abc\nclass C(abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...",
        USE + "C()",
        "ABSTRACT_METHOD",
    ),
    "call_removed_from_class": (
        "class C:\n    def __call__(self, a): ...",
        "class C:\n    def run(self, a): ...",
        METHOD + "made(1)",
        "KIND_CHANGED",
    ),
    "body_now_only_raises": (
        "def f(a):\n    return a",
        "def f(*args, **kwargs):\n    '''Gone.'''\n    raise RuntimeError('use g')",
        USE + "f(x)",
        "NOW_RAISES",
    ),
    "class_now_only_raises": (
        "class C:\n    def __init__(self, a):\n        self.a = a",
        "class C:\n    def __init__(self, *a, **k):\n        raise ImportError('gone')",
        USE + "C(x)",
        "NOW_RAISES",
    ),
    "literal_alias_loses_a_value": (
        "from typing import Literal\nMode = Literal['a', 'b']\ndef f(mode: Mode): ...",
        "from typing import Literal\nMode = Literal['a', 'c']\ndef f(mode: Mode): ...",
        USE + "f(mode='b')",
        "LITERAL_REMOVED",
    ),
    "optional_literal_loses_a_value": (
        "from typing import Literal\ndef f(mode: Literal['a', 'b'] | None = None): ...",
        "from typing import Literal\ndef f(mode: Literal['a'] | None = None): ...",
        USE + "f(mode='b')",
        "LITERAL_REMOVED",
    ),
    "literal_passed_by_position": (
        "from typing import Literal\ndef f(mode: Literal['a', 'b']): ...",
        "from typing import Literal\ndef f(mode: Literal['a']): ...",
        USE + "f('b')",
        "LITERAL_REMOVED",
    ),
    "named_tuple_grows": (
        "from typing import NamedTuple\nclass R(NamedTuple):\n    a: int\n    b: int\ndef f() -> R: ...",
        "from typing import NamedTuple\nclass R(NamedTuple):\n    a: int\n    b: int\n    c: int\ndef f() -> R: ...",
        "import fakelib\na, b = fakelib.f()",
        "RETURN_ARITY",
    ),
    "tuple_becomes_single": (
        "def f() -> tuple[int, int]: ...",
        "def f() -> int: ...",
        "import fakelib\na, b = fakelib.f()",
        "RETURN_ARITY",
    ),
    "override_gains_a_required_parameter": (
        "class B:\n    def hook(self, a): ...",
        "class B:\n    def hook(self, a, b): ...",
        "import fakelib\nclass Ours(fakelib.B):\n    def hook(self, a): ...",
        "PATCH_SIGNATURE",
    ),
    "settable_property_becomes_read_only": (
        "class C:\n    @property\n    def size(self): ...\n    @size.setter\n    def size(self, value): ...",
        "class C:\n    @property\n    def size(self): ...",
        METHOD + "made.size = 3",
        "READ_ONLY",
    ),
    "dataclass_frozen": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    size: int = 0",
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass C:\n    size: int = 0",
        METHOD + "made.size = 3",
        "READ_ONLY",
    ),
}
