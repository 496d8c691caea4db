"""``carrick generate``: code from contracts, with buf or with protoc, written only where it changed."""

from carrick.cli.generate.generation import Generation
from carrick.cli.generate.template import choose_template
from carrick.cli.generate.tools import Compiler, ContractError

__all__ = ["Compiler", "ContractError", "Generation", "choose_template"]
