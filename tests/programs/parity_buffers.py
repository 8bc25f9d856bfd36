"""Bytes by every way that the standard library has: compressors, growing buffers, views, arrays, anonymous maps, pipes
and temporary files.
"""

import array
import bz2
import gc
import io
import lzma
import mmap
import os
import pickle
import struct
import tempfile
import zlib


def grow():
    text = bytearray()
    for index in range(3000):
        text += struct.pack("<IQ", index, index * index)
        text.extend(b"%d," % index)
    numbers = array.array("d")
    for index in range(40_000):
        numbers.append(index * 0.5)
    return bytes(text), numbers


def compress(data):
    sizes = []
    for module, options in ((zlib, {"level": 6}), (bz2, {}), (lzma, {"preset": 1})):
        packed = module.compress(data, **options)
        assert module.decompress(packed) == data
        sizes.append(len(packed))
    stream = zlib.compressobj(9)
    pieces = [stream.compress(data[start : start + 4096]) for start in range(0, len(data), 4096)]
    return sizes, len(b"".join(pieces) + stream.flush())


def maps(data):
    with mmap.mmap(-1, 3 << 20) as pages:
        pages.write(data)
        pages.seek(0)
        return len(pages.read(len(data) // 2))


def files(data):
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        with io.BufferedReader(io.FileIO(os.dup(file.fileno())), 1 << 16) as reader:
            return len(reader.read()), len(reader.peek())


def pipes(data):
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb", buffering=8192) as target:
        target.write(data[:50_000])
        target.close()
        return len(source.read())


def main():
    text, numbers = grow()
    data = text * 4 + numbers.tobytes()
    view = memoryview(data)[100:-100]
    pickled = pickle.dumps([data, numbers, [bytes(600 + index) for index in range(1500)]], protocol=5)
    back = pickle.loads(pickled)
    print(len(data), view.nbytes, len(pickled), len(back), compress(data), maps(data), files(data), pipes(data))
    print(len(b"".join([data, pickled, view])))


main()
gc.collect()
bytearray(1017)  #: end
