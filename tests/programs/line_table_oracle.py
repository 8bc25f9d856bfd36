"""Writes the line table of every code object of the standard library, and the lines that CPython reads in it.

One record per code object, little endian:
    i32 co_firstlineno, u32 bytes of code, u32 bytes of table, u32 ranges, the table,
    then per range: u32 end offset, i32 line (NO_LINE: none)
"""

import ctypes
import importlib.util
import marshal
import os
import struct
import sys
import sysconfig
import types
import warnings

NO_LINE = -(2**31)
HAS_CO_LINES = sys.version_info >= (3, 10)

address_to_line = ctypes.pythonapi.PyCode_Addr2Line
address_to_line.argtypes = [ctypes.py_object, ctypes.c_int]


def sources(root):
    """Every module of the standard library but its tests, which are three times as much."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - {"site-packages", "dist-packages", "test", "tests"})
        for name in sorted(files):
            path = os.path.join(folder, name)
            # Debian leaves links to files of /etc.
            if name.endswith(".py") and os.path.exists(path):
                yield path


def compiled(path):
    """The cached code where there is one: it is the same code, read faster than it is compiled."""
    try:
        with open(importlib.util.cache_from_source(path), "rb") as cache:
            data = cache.read()
        if data[:4] == importlib.util.MAGIC_NUMBER:
            return marshal.loads(data[16:])
    except OSError:
        pass
    with open(path, "rb") as source:
        text = source.read()
    try:
        return compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        # There are files that are wrong on purpose.
        return None


def code_objects(code):
    todo = [code] if code else []
    while todo:
        code = todo.pop()
        yield code
        todo.extend(constant for constant in code.co_consts if isinstance(constant, types.CodeType))


def ranges(code, size):
    if HAS_CO_LINES:
        position = 0
        for start, end, line in code.co_lines():
            if start != position:
                raise ValueError("a gap in co_lines() of %r" % code)
            position = end
            if end > start:
                yield end, NO_LINE if line is None else line
    else:
        last = address_to_line(code, 0)
        for offset in range(2, size, 2):
            line = address_to_line(code, offset)
            if line != last:
                yield offset, last
                last = line
        yield size, last


def main():
    warnings.simplefilter("ignore")
    out = sys.stdout.buffer
    for path in sources(sysconfig.get_path("stdlib")):
        for code in code_objects(compiled(path)):
            table = code.co_linetable if HAS_CO_LINES else code.co_lnotab
            size = len(code.co_code)
            found = list(ranges(code, size))
            flat = b"".join(struct.pack("<Ii", *item) for item in found)
            out.write(struct.pack("<iIII", code.co_firstlineno, size, len(table), len(found)))
            out.write(table)
            out.write(flat)
    out.flush()


main()
