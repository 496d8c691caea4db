"""Calls over gRPC: the only package that imports grpc."""

from carrick.rpc.channel import Channel, UnaryCall
from carrick.rpc.server import Server, Servicer

__all__ = ["Channel", "Server", "Servicer", "UnaryCall"]
