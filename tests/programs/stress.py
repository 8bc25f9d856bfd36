"""Stacks and code objects that the recording has never seen, as many as are asked for.

stress.py stacks COUNT        each allocation has a stack of its own
stress.py codes COUNT KEPT    each is made by a function of its own, of which the last KEPT live
"""

import collections
import sys

STACK_BYTES = 1201  # and 33 bytes around them
CODE_BYTES = 2301


def zero(number, depth):
    return go_on(number, depth)


def one(number, depth):
    return go_on(number, depth)


def go_on(number, depth):
    if depth == 0:
        return len(bytes(STACK_BYTES))
    return (one if number & 1 else zero)(number >> 1, depth - 1)


def stacks(count):
    depth = count.bit_length()
    for number in range(count):
        go_on(number, depth)


def codes(count, kept):
    functions = collections.deque(maxlen=kept)
    for number in range(count):
        names = {}
        source = f"def made_{number}(): return len(bytes({CODE_BYTES}))"
        exec(compile(source, f"made {number}", "exec"), names)
        functions.append(names[f"made_{number}"])
        functions[-1]()


print("begun", flush=True)
globals()[sys.argv[1]](*map(int, sys.argv[2:]))
print("over")
