"""Calls over gRPC: the only package that imports grpc."""

from typing import TYPE_CHECKING

from carrick._on_demand import on_demand
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
from carrick.rpc.transport import Transport

if TYPE_CHECKING:
    from carrick.rpc.server import Server, Servicer
else:
    __getattr__ = on_demand(__name__, Server="carrick.rpc.server", Servicer="carrick.rpc.server")

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
