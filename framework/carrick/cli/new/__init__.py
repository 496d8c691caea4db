"""``carrick new``: a service that runs, as a beginning."""

from carrick.cli.new.name import Name, check_name
from carrick.cli.new.project import make_project

__all__ = ["Name", "check_name", "make_project"]
