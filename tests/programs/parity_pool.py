"""Threads: a pool that compresses and hashes without the GIL, and threads that pass work through queues.

Its heap is highest when all results are put together after the threads have done, so that it does not depend on which
of them ran at one time.
"""

import gc
import hashlib
import queue
import random
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

THREADS_COUNT = 4


def page(number):
    numbers = random.Random(number)
    return bytes(numbers.choices(b"abcdefgh \n", k=20_000 + 100 * number))


def pack(number):
    data = page(number)
    packed = zlib.compress(data, 6)  #: compress
    again = zlib.decompress(packed)
    return number, packed, hashlib.sha256(again).hexdigest(), [bytes(700 + index) for index in range(40)]


def pack_all():
    """A few at a time: how a long queue is shortened depends on who is faster."""
    packed = []
    for first in range(0, 160, 10):
        with ThreadPoolExecutor(THREADS_COUNT) as pool:
            packed += pool.map(pack, range(first, first + 10))
    return packed


def work(tasks, results):
    while (number := tasks.get()) is not None:
        results.put((number, bytearray(2000 + number)))


def through_queues():
    tasks, results = queue.SimpleQueue(), queue.SimpleQueue()
    threads = [threading.Thread(target=work, args=(tasks, results)) for _ in range(THREADS_COUNT)]
    for number in range(2000):
        tasks.put(number)
    for _ in threads:
        tasks.put(None)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results.get() for _ in range(2000))


def main():
    packed = pack_all()
    moved = through_queues()
    whole = b"".join([piece for _, piece, _, _ in packed] + [piece for _, piece in moved])
    digest = hashlib.sha256(whole).hexdigest()
    book = whole * 3  #: book
    print(len(packed), len(moved), len(book), digest)


main()
gc.collect()
bytearray(1017)  #: end
