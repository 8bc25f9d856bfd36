"""Reads a web server's log, counts, caches, and reports: an example to profile.

Four phases that a memory profile tells apart:

1. parse: every line becomes a dictionary, all of them alive at once: the peak
2. aggregate: worker threads count per page; the parsed lines are dropped
3. render: many short-lived strings, each freed at once: temporary allocations
4. serve: a cache that is never emptied: the leak
"""

import collections
import json
import random
import threading

LINES = 120_000
PAGES = [f"/articles/{number}" for number in range(400)] + ["/", "/search", "/login"]
AGENTS = ["Firefox/128.0", "Chrome/126.0", "curl/8.8.0", "Googlebot/2.1"]

render_cache = {}


def write_log(seed):
    """The log as one text, as if read from a file."""
    source = random.Random(seed)
    lines = []
    for number in range(LINES):
        page = source.choice(PAGES)
        agent = source.choice(AGENTS)
        status = 404 if source.random() < 0.02 else 200
        size = source.randrange(200, 40_000)
        lines.append(f"10.0.{number % 250}.{number % 199} GET {page} {status} {size} {agent}")
    return "\n".join(lines)


def parse_line(line):
    address, method, page, status, size, agent = line.split(" ")
    return {
        "address": address,
        "method": method,
        "page": page,
        "status": int(status),
        "size": int(size),
        "agent": agent,
    }


def parse(text):
    """The mistake that the profile shows: all records at once, though they are needed one by one."""
    return [parse_line(line) for line in text.splitlines()]


class Totals:
    def __init__(self):
        self.hits = collections.Counter()
        self.bytes = collections.Counter()
        self.visitors = collections.defaultdict(set)

    def add(self, record):
        page = record["page"]
        self.hits[page] += 1
        self.bytes[page] += record["size"]
        self.visitors[page].add(record["address"])


def count_part(records, results, index):
    totals = Totals()
    for record in records:
        totals.add(record)
    results[index] = totals


def aggregate(records, workers=4):
    """One thread for each part of the log, then one table of all."""
    results = [None] * workers
    threads = [
        threading.Thread(
            target=count_part, args=(records[index::workers], results, index), name=f"count-{index}"
        )
        for index in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    merged = Totals()
    for totals in results:
        merged.hits.update(totals.hits)
        merged.bytes.update(totals.bytes)
        for page, visitors in totals.visitors.items():
            merged.visitors[page] |= visitors
    return merged


def render(totals):
    """A row of JSON for each page; every piece of it is thrown away as soon as the next one is made."""
    rows = []
    for page, hits in totals.hits.most_common():
        row = {"page": page, "hits": hits, "visitors": len(totals.visitors[page])}
        padding = bytearray(64_000)
        rows.append(json.dumps(row) + "\n" * (len(padding) // 64_000))
    return "".join(rows)


def serve(report, requests=300):
    """The leak: the key differs each time, so nothing is ever found in the cache and nothing leaves it."""
    for number in range(requests):
        key = (number, "report")
        if key not in render_cache:
            render_cache[key] = report[: 20_000 + number].encode()


def main():
    text = write_log(seed=7)
    records = parse(text)
    totals = aggregate(records)
    del records, text
    report = render(totals)
    serve(report)
    print(f"{sum(totals.hits.values())} requests for {len(totals.hits)} pages, {len(render_cache)} reports cached")


if __name__ == "__main__":
    main()
