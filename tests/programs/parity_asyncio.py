"""Coroutines: a server and its clients on one event loop, a pipeline of queues, and tasks by the thousand.
"""

import asyncio
import gc
import zlib


async def answer(reader, writer):
    while line := await reader.readline():
        size = int(line)
        body = await reader.readexactly(size)
        packed = zlib.compress(body, 1)
        writer.write(b"%d\n" % len(packed) + packed)
        await writer.drain()
    writer.close()


async def client(port, number):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for index in range(12):
        body = bytes([number, index]) * (900 + 40 * index)
        writer.write(b"%d\n" % len(body) + body)
        answers.append(await reader.readexactly(int(await reader.readline())))
    writer.close()
    await writer.wait_closed()
    return answers


async def talk():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answers = []
    # One after the other: how a stream is cut into pieces does not depend on others then.
    for number in range(8):
        answers += await client(port, number)
    server.close()
    await server.wait_closed()
    return len(answers), sum(map(len, answers))


async def stage(source, target, change):
    while (item := await source.get()) is not None:
        await target.put(change(item))
    await target.put(None)


async def pipeline():
    first, second, third = asyncio.Queue(8), asyncio.Queue(8), asyncio.Queue()
    stages = [
        asyncio.create_task(stage(first, second, lambda number: str(number) * (number % 300))),
        asyncio.create_task(stage(second, third, lambda text: text.encode("utf-16"))),
    ]
    for number in range(3000):
        await first.put(number)
    await first.put(None)
    await asyncio.gather(*stages)
    found = []
    while (item := third.get_nowait()) is not None:
        found.append(item)
    return len(b"".join(found))


async def leaf(number):
    await asyncio.sleep(0)
    return bytearray(600 + number % 1000)


async def many():
    found = await asyncio.gather(*(leaf(number) for number in range(5000)))
    return sum(map(len, found))


async def main():
    print(await talk(), await pipeline(), await many())


asyncio.run(main())
gc.collect()
bytearray(1017)  #: end
