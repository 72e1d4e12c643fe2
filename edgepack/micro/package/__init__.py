"""The folder that goes into a firmware project: C++ around a model, build files, golden vectors."""

from edgepack.micro.package.contents import Contents, Port, Vector
from edgepack.micro.package.writing import write

__all__ = ["Contents", "Port", "Vector", "write"]
