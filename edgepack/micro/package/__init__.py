"""The folder that goes into a firmware project: C++ around a model, build files, golden vectors."""

from edgepack.micro.package.contents import Contents, Port, Vector
from edgepack.micro.package.ports import ports, resource_variables, variable_tensors
from edgepack.micro.package.writing import write

__all__ = [
    "Contents",
    "Port",
    "Vector",
    "ports",
    "resource_variables",
    "variable_tensors",
    "write",
]
