"""Deep calls: recursive functions, generators that delegate, a parser that descends, and structures that contain
themselves many levels deep.
"""

import ast
import copy
import functools
import gc
import json
import sys
from collections import deque

sys.setrecursionlimit(20_000)


def nested(depth):
    return {"depth": depth, "block": bytes(600 + depth), "next": nested(depth - 1)} if depth else None


def unfold(tree):
    if tree is not None:
        yield len(tree["block"])
        yield from unfold(tree["next"])


@functools.cache
def ways(amount, largest):
    if amount == 0:
        return 1
    return sum(ways(amount - coin, coin) for coin in range(1, min(amount, largest) + 1))


def ackermann(m, n, kept):
    kept.append(bytes(520))
    if m == 0:
        return n + 1
    if n == 0:
        return ackermann(m - 1, 1, kept)
    return ackermann(m - 1, ackermann(m, n - 1, kept), kept)


def expression(depth):
    return f"({expression(depth - 1)} + {depth})" if depth else "1"


def queens(size, columns=()):
    if len(columns) == size:
        return 1
    row = len(columns)
    free = [
        column
        for column in range(size)
        if all(column != other and abs(column - other) != row - at for at, other in enumerate(columns))
    ]
    return sum(queens(size, (*columns, column)) for column in free)


def main():
    tree = nested(700)
    twin = copy.deepcopy(tree)
    kept = deque(maxlen=3000)
    found = [sum(unfold(twin)), ways(70, 70), ackermann(2, 40, kept), queens(6)]
    tree_of_code = ast.parse(expression(150))
    text = json.dumps([0] * 1000 + [str(number) * 90 for number in range(2000)])
    print(*found, len(list(ast.walk(tree_of_code))), len(text), len(kept))


main()
gc.collect()
bytearray(1017)  #: end
