"""Attacks whoever looks at it from outside, and checks that it is none the worse for it.

`hostile.py LIBRARY WAY [before]`, where the last word is for a program that is attached to: it waits for a line. The sizes of the attacks begin at 2,000,001, those of an honest thread beside them at 1,234,501.
"""

import ctypes
import fcntl
import json
import mmap
import os
import struct
import sys
import tempfile
import threading

FIRST_HONEST, HONEST = 1_234_501, 60
FIRST_ATTACK = 2_000_001

library = ctypes.PyDLL(sys.argv[1])
library.poisoned.argtypes = [ctypes.c_uint64] * 3 + [ctypes.c_size_t]
library.exchange.argtypes = [ctypes.c_uint64, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64]
library.long_chain.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t]
library.fake_state.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
library.other_fs.argtypes = [ctypes.c_uint64, ctypes.c_size_t]
library.claims.argtypes = [ctypes.c_size_t]
for function in library.long_chain, library.page_end, library.unreadable:
    function.restype = ctypes.c_uint64
libc = ctypes.CDLL(None)
malloc, free = libc.malloc, libc.free
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
free.argtypes = [ctypes.c_void_p]


def word(address):
    return ctypes.c_uint64.from_address(address).value


def frame_address(frame):
    # PyFrameObject {ob_refcnt, ob_type, f_back, f_frame}; before 3.11 the object is the frame.
    return id(frame) if sys.version_info < (3, 11) else word(id(frame) + 24)


def poison(make_value, size):
    frame = sys._getframe()
    own, caller = frame_address(frame), frame_address(frame.f_back)
    found = library.poisoned(own, caller, make_value(own, caller), size)  #: poison
    assert found, "no link to the caller"


def frames():
    other = ctypes.create_string_buffer(4096)
    values = [
        lambda own, caller: own,
        lambda own, caller: own + 3,
        lambda own, caller: 1,
        lambda own, caller: 0xDEAD0000,
        lambda own, caller: 0xFFFF_8880_0000_0000,
        lambda own, caller: 0xFFFF_FFFF_8100_0000,
        lambda own, caller: 0x8000_0000_0000_0000,
        lambda own, caller: 0x7FFF_FFFF_EFF8,
        lambda own, caller: 2**64 - 1,
        lambda own, caller: 2**64 - 72,
        lambda own, caller: library.page_end(),
        lambda own, caller: library.unreadable(),
        lambda own, caller: ctypes.addressof(other),
        lambda own, caller: library.long_chain(own, caller, 100_000),
        lambda own, caller: library.long_chain(own, caller, 2),
        lambda own, caller: id(type),
    ]
    for size, value in enumerate(values, FIRST_ATTACK):
        poison(value, size)
    return len(values)


def states():
    api = ctypes.pythonapi.PyGILState_GetThisThreadState
    api.restype = ctypes.c_void_p
    real = api()
    fake = ctypes.create_string_buffer(b"\xff" * 4096, 4096)
    zero = ctypes.create_string_buffer(4096)
    addresses = [
        1,
        0xDEAD0000,
        0xFFFF_8880_0000_0000,
        2**64 - 8,
        real,
        ctypes.addressof(fake),
        ctypes.addressof(zero),
        library.page_end(),
        library.unreadable(),
    ]
    found = [library.fake_state(real, address, size) for size, address in enumerate(addresses, FIRST_ATTACK)]
    return sum(found)


def bases():
    values = [0, 1, 0xDEAD0000, library.unreadable(), library.page_end() & ~4095]
    values += [ctypes.addressof(ctypes.create_string_buffer(b"\xff" * 4096, 4096))]
    results = [library.other_fs(value, size) for size, value in enumerate(values, FIRST_ATTACK)]
    assert results == [0] * len(values), results
    # What the kernel does not accept either.
    assert library.other_fs(0xFFFF_8880_0000_0000, 5) != 0
    return len(values)


def claims():
    library.claims(300)
    return 0


NAMES = [
    "</script><script>alert(1)</script>",
    "'; DROP TABLE sites; --",
    "\x1b[2J\x1b]0;owned\x07",
    "a\0b",
    "line\nbreak\r\n\x85\u2028",
    "\u202egnp.exe\u202c\u2066\u200f",
    b"not utf-8 \xff\xfe\x80".decode("utf-8", "surrogateescape"),
    "lone \ud800 surrogate \udfff",
    "\ufffe\uffff\U0010ffff",
    "a;b 99999999",
    "=cmd|' /C calc'!A0",
    "",
    "A" * (3 << 20),
    "\u202e" * (1 << 20),
    "\U0001f600" * (1 << 20),
    "\ud800" * (1 << 20),
]


def names():
    prctl_name = b"\x1b[2J</script>\xff"
    for size, name in enumerate(NAMES, FIRST_ATTACK):
        source = f"def function(): free(malloc({size}))"
        variables = {"malloc": malloc, "free": free}
        exec(compile(source, "a", "exec"), variables)
        function = variables["function"]
        changes = {"co_name": name, "co_filename": name}
        if sys.version_info >= (3, 11):
            changes["co_qualname"] = name
        function.__code__ = function.__code__.replace(**changes)

        def run(function=function, size=size):
            if size % 2:
                libc.prctl(15, prctl_name, 0, 0, 0)
            function()

        thread = threading.Thread(target=run, name=name[:1000] or "empty")
        thread.start()
        thread.join()
        # What is longer than the kernel sends is read from memory a moment later.
        kept.append(function)
    return len(NAMES)


def deep():
    depth = 100_000
    # A frame of C for each of Python before 3.11.
    threading.stack_size(1 << 30)
    sys.setrecursionlimit(depth + 1000)
    failed = []

    def down(left):
        if left:
            return down(left - 1) + 1  #: deeper
        for size in range(FIRST_ATTACK, FIRST_ATTACK + 20):
            free(malloc(size))  #: bottom
        return 0

    def bottom():
        if down(depth) != depth:
            failed.append("depth")

    thread = threading.Thread(target=bottom)
    thread.start()
    thread.join()
    assert not failed
    return 20


def elf(section_kind, count, sections=4, size=None):
    """An ELF library whose section headers say that there are so many symbols in a file of holes."""
    symbols_at, names_at = 0x10000, 0x10000 + count * 24
    size = size or names_at + 4096
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 4096, 0, 64, 56, 2, 64, sections, 0)
    loads = [
        struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 0x10000, 0x10000, 4096),
        struct.pack("<IIQQQQQQ", 1, 5, 0, 2**64 - 4096, 0, 2**63, 2**64 - 1, 0),
    ]
    table = struct.pack("<IIQQQQIIQQ", 0, section_kind, 0, 0, symbols_at, count * 24, 2, 0, 8, 24)
    strings = struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, names_at, 4096, 0, 0, 1, 0)
    text = header + b"".join(loads)
    text += bytes(4096 - len(text)) + bytes(64) + table + strings + table
    file = tempfile.NamedTemporaryFile(suffix=".so")
    file.write(text)
    file.truncate(size)
    if count <= 1_000_000:
        file.seek(symbols_at)
        file.write(struct.pack("<IBBHQQ", 1, 0x12, 0, 1, 0x1000, 16) * count)
        file.seek(names_at)
        file.write(b"\0malloc\0")
    file.flush()
    return file


def objects():
    files = [
        elf(11, 1_000_000),
        elf(11, 44_000_000),
        elf(2, 44_000_000),
        elf(11, 2**40, size=1 << 20),
        elf(11, 10, sections=65535),
        elf(11, 10, size=1 << 46) if os.environ.get("HUGE_FILES") else elf(5, 10),
    ]
    garbage = tempfile.NamedTemporaryFile(suffix=".so")
    garbage.write(b"\x7fELF\x02\x01\x01" + os.urandom(8000))
    garbage.flush()
    files.append(garbage)
    for file in files:
        kept.append(mmap.mmap(file.fileno(), 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC))
        kept.append(file)
        try:
            ctypes.CDLL(file.name)
        except OSError:
            pass
    # Something to be loaded, so that the list of libraries is looked at again.
    import _ctypes_test  # noqa: F401

    return 0


def unserved():
    """A name that lies half in a page for which this program, and nobody else, would have to be waited for."""
    libc.mmap.restype = ctypes.c_uint64
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    pages = libc.mmap(None, 8192, 3, 0x22, -1, 0)
    faults = libc.syscall(323, 0)
    assert faults >= 0, "userfaultfd"
    # UFFDIO_API and UFFDIO_REGISTER (include/uapi/linux/userfaultfd.h), for pages that are missing.
    fcntl.ioctl(faults, 0xC018AA3F, struct.pack("<QQQ", 0xAA, 0, 0))
    fcntl.ioctl(faults, 0xC020AA00, struct.pack("<QQQQ", pages + 4096, 4096, 1, 0))
    name = "never_read_" * 300
    head = sys.getsizeof("") - 1
    text = pages + 4096 - 600 - head
    ctypes.memmove(text, id(name), head + 600)
    changes = {"co_name": name}
    if sys.version_info >= (3, 11):
        changes["co_qualname"] = name
    source = f"def function(): free(malloc({FIRST_ATTACK}))"
    variables = {"malloc": malloc, "free": free}
    exec(compile(source, "unserved.py", "exec"), variables)
    function = variables["function"]
    function.__code__ = function.__code__.replace(**changes)
    code = id(function.__code__)
    assert library.exchange(code, 40, id(name), text) > 0
    function()
    assert library.exchange(code, 40, text, id(name)) > 0
    kept.append(name)
    return 1


kept = []


def honest():
    for size in range(FIRST_HONEST, FIRST_HONEST + HONEST):
        free(malloc(size))  #: honest


def main():
    way = globals()[sys.argv[2]]
    if len(sys.argv) > 3:
        if sys.argv[2] == "objects":
            way()
        print("ready", flush=True)
        sys.stdin.readline()
    thread = threading.Thread(target=honest)
    thread.start()
    count = way()
    thread.join()
    honest()  #: main thread
    print(json.dumps({"attacks": count, "sum": sum(range(1000))}), flush=True)
    if len(sys.argv) > 3:
        sys.stdin.readline()


if __name__ == "__main__":
    main()  #: main
