"""Prints how many bytes of thread-local variables each library has that this interpreter may load, as a JSON list.

What the dynamic loader allocates for them, at their first use by a thread, is of exactly that size; where the variables
want more than 16 bytes of alignment, larger by the alignment (elf/dl-tls.c, `allocate_dtv_entry`).
"""

import json
import pathlib
import struct
import sys
import sysconfig

FOLDERS = [sysconfig.get_path("platlib"), sysconfig.get_config_var("DESTSHARED"), "/lib/x86_64-linux-gnu"]
PT_TLS = 7


def thread_locals(path):
    with open(path, "rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02":
            return
        start, size, count = struct.unpack_from("<Q", header, 32)[0], *struct.unpack_from("<HH", header, 54)
        file.seek(start)
        table = file.read(size * count)
    for index in range(count):
        kind, _flags, _offset, _address, _physical, _in_file, in_memory, alignment = struct.unpack_from("<IIQQQQQQ", table, index * size)
        if kind == PT_TLS:
            yield in_memory if alignment <= 16 else in_memory + alignment


def main():
    found = set()
    for folder in FOLDERS:
        for path in pathlib.Path(folder).rglob("*.so*"):
            if path.is_file():
                found.update(thread_locals(path))
    json.dump(sorted(found), sys.stdout)


main()
