"""Prints how large CPython makes the objects that belong to a call of each function, as JSON.

    parity_object_sizes.py < FILES

For each code object of the Python files that standard input names, one a line: `[file, first line, bytes of its frame
object, bytes of its generator object]`, the last 0 for a function that is no generator. Only those of which one is too
large for pymalloc, which hands out up to 512 bytes.
"""

import inspect
import json
import sys
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType

PYMALLOC_MAX_BYTES = 512
GC_HEAD_BYTES = 16
POINTER_BYTES = 8
KINDS = {
    inspect.CO_GENERATOR: GeneratorType,
    inspect.CO_COROUTINE: CoroutineType,
    inspect.CO_ASYNC_GENERATOR: AsyncGeneratorType,
}


def codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def slots_count(code):
    """Local, cell and free variables with the hidden ones of comprehensions, and the evaluation stack."""
    count = 0
    try:
        while code._varname_from_oparg(count):
            count += 1
    except IndexError:
        return count + code.co_stacksize


def object_bytes(kind, code):
    return GC_HEAD_BYTES + kind.__basicsize__ + POINTER_BYTES * slots_count(code)


def rows(path):
    with open(path, "rb") as source:
        module = compile(source.read(), path, "exec")
    for code in codes(module):
        frame = object_bytes(FrameType, code)
        generator = next((object_bytes(kind, code) for flag, kind in KINDS.items() if code.co_flags & flag), 0)
        if max(frame, generator) > PYMALLOC_MAX_BYTES:
            yield path, code.co_firstlineno, frame, generator


json.dump([row for path in sys.stdin.read().splitlines() for row in rows(path)], sys.stdout)
