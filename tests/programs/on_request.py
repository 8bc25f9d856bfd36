"""Keeps a block of 1,234,577 bytes for each line on its standard input, and answers each; ends with its input."""

import sys

blocks = []
for line in sys.stdin:
    blocks.append(bytearray(1_234_577))
    print("block", len(blocks), flush=True)
print("end after", len(blocks), "blocks", flush=True)
