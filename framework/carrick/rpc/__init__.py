"""Calls over gRPC: the only package that imports grpc."""

from carrick.rpc.blocking import (
    BlockingBidiStreamCall,
    BlockingChannel,
    BlockingClientStreamCall,
    BlockingResponseStream,
    BlockingServerStreamCall,
    BlockingUnaryCall,
)
from carrick.rpc.calls import BidiStreamCall, ClientStreamCall, ResponseStream, ServerStreamCall, UnaryCall
from carrick.rpc.channel import Channel
from carrick.rpc.server import Server, Servicer
from carrick.rpc.transport import Transport

__all__ = [
    "BidiStreamCall",
    "BlockingBidiStreamCall",
    "BlockingChannel",
    "BlockingClientStreamCall",
    "BlockingResponseStream",
    "BlockingServerStreamCall",
    "BlockingUnaryCall",
    "Channel",
    "ClientStreamCall",
    "ResponseStream",
    "Server",
    "ServerStreamCall",
    "Servicer",
    "Transport",
    "UnaryCall",
]
