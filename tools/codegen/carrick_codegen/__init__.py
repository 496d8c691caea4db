"""The protoc plugin of Carrick: contracts in, typed clients, servicers and events out.

It reads descriptors into a frozen model (:mod:`carrick_codegen.reader`, :mod:`carrick_codegen.model`) and writes text
from that (:mod:`carrick_codegen.render`). It never imports the ``carrick`` runtime.
"""
