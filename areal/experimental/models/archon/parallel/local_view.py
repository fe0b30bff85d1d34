# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Modules whose parameters are DTensors, but which compute with this rank's part as a plain tensor.

FSDP2, checkpoints and the gradient norm see DTensors in `_parameters`, under unchanged names; the module's own code reads
attributes, which a property of its class turns into local tensors with the right gradient. So no layer knows of DTensors.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from weakref import WeakValueDictionary

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, distribute_tensor

View = Callable[[Tensor], Tensor]
_CLASSES: WeakValueDictionary[tuple[type, Hashable], type] = WeakValueDictionary()


def identity(x: Tensor) -> Tensor:
    """The view of a part whose gradient is complete."""
    return x


def cut_parameter(module: nn.Module, name: str, mesh: DeviceMesh, placements: tuple[Placement, ...]) -> None:
    """Replace a whole parameter, equal on all ranks or on meta, by this rank's part of it. No communication."""
    param = module._parameters[name]
    assert param is not None, f"no parameter {name}"
    part = distribute_tensor(param.detach(), mesh, placements, src_data_rank=None)
    module.register_parameter(name, nn.Parameter(part, requires_grad=param.requires_grad))


def view_parameters(module: nn.Module, mesh: DeviceMesh, views: Mapping[str, View]) -> None:
    """Let the attributes `views` of a module read the local part, on `mesh`, of its parameter through a function.

    A parameter that FSDP holds sharded, which is on more than `mesh`, is returned as it is: only FSDP looks at it then.
    """
    readers = {name: property(_reader(name, mesh, view)) for name, view in views.items()}
    override(module, (mesh, *sorted(views.items(), key=lambda item: item[0])), **readers)


def override(module: nn.Module, key: Hashable, **attributes: object) -> None:
    """Give one module other methods or properties than its class.

    Modules of one class that are overridden under one `key` share theirs: code compiled for a class serves all its modules,
    and torch stops compiling at the ninth. So the key has to tell attributes apart.
    """
    cls = type(module)
    made = _CLASSES.get((cls, key))
    if made is None:
        made = _CLASSES[cls, key] = type(cls.__name__, (cls,), attributes)
    module.__class__ = made


def _reader(name: str, mesh: DeviceMesh, view: View) -> Callable[[nn.Module], Tensor | None]:
    def read(module: nn.Module) -> Tensor | None:
        param = module._parameters[name]
        if not isinstance(param, DTensor) or param.device_mesh != mesh:
            return param
        return view(param.to_local())

    return read
