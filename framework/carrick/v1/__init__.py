"""The compiled contract options, ``carrick/v1/options.proto``."""
