"""Calls over gRPC: the only package that imports grpc."""

from typing import TYPE_CHECKING

from carrick._on_demand import on_demand
from carrick.rpc.channel import Channel, UnaryCall

if TYPE_CHECKING:
    from carrick.rpc.server import Server, Servicer
else:
    __getattr__ = on_demand(__name__, Server="carrick.rpc.server", Servicer="carrick.rpc.server")

__all__ = ["Channel", "Server", "Servicer", "UnaryCall"]
