"""Makes blocks of rising sizes, one kept and one not, until its input ends; says in a file when each was there.

The file begins with the number of the process; its other lines are the number of a block and `CLOCK_MONOTONIC`.
With a second argument it does not look at its input, and ends by itself after so many blocks.
"""

import os
import select
import sys
import time


def keep(number):
    return bytearray(20_000 + number)  #: keep


def pass_by(number):
    bytearray(60_000 + number)


log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
most = int(sys.argv[2]) if len(sys.argv) > 2 else None


def is_over(count):
    if most is None:
        return bool(select.select([sys.stdin], [], [], 0.001)[0])
    time.sleep(0.001)
    return count == most


os.write(log, b"%d\n" % os.getpid())
blocks = []
while not is_over(len(blocks)):
    number = len(blocks)
    blocks.append(keep(number))
    pass_by(number)
    os.write(log, b"%d %d\n" % (number, time.monotonic_ns()))
print("end after", len(blocks), "blocks", flush=True)
