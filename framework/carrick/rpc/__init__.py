"""Calls over gRPC: the only package that imports grpc."""

from carrick.rpc.calls import BidiStreamCall, ClientStreamCall, ResponseStream, ServerStreamCall, UnaryCall
from carrick.rpc.channel import Channel
from carrick.rpc.server import Server, Servicer

__all__ = [
    "BidiStreamCall",
    "Channel",
    "ClientStreamCall",
    "ResponseStream",
    "Server",
    "ServerStreamCall",
    "Servicer",
    "UnaryCall",
]
