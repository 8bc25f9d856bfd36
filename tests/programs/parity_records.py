"""Access logs through the standard library: made as text, parsed by a regular expression, kept in an SQLite file in
memory, written as CSV and as JSON and read back.

Its heap is highest when all records are there as text and as objects.
"""

import csv
import gc
import io
import json
import random
import re
import sqlite3
from collections import Counter

LINES_COUNT = 12_000
LINE = re.compile(r'(?P<host>\S+) - \[(?P<time>\d+)\] "(?P<method>[A-Z]+) (?P<path>\S+)" (?P<status>\d{3}) (?P<bytes>\d+) (?P<agent>.*)')


def log(numbers):
    lines = (
        f'10.0.{numbers.randrange(9)}.{numbers.randrange(250)} - [{index}] '
        f'"{numbers.choice(["GET", "POST", "PUT"])} /shelf/{numbers.randrange(400)}?q={"x" * numbers.randrange(700)}" '
        f'{numbers.choice([200, 200, 200, 404, 500])} {numbers.randrange(1 << 20)} agent/{index % 17}'
        for index in range(LINES_COUNT)
    )
    return "\n".join(lines)  #: log


def parse(text):
    return [match.groupdict() for match in LINE.finditer(text)]  #: parse


def store(records):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE requests(host, path, status INTEGER, bytes INTEGER)")
    rows = [(record["host"], record["path"], int(record["status"]), int(record["bytes"])) for record in records]
    connection.executemany("INSERT INTO requests VALUES (?, ?, ?, ?)", rows)
    connection.execute("CREATE INDEX by_path ON requests(path, status)")
    return connection


def ask(connection):
    busiest = "SELECT substr(path, 1, 9), COUNT(*), SUM(bytes) FROM requests GROUP BY 1 ORDER BY 3 DESC LIMIT 50"
    slow = "SELECT host, path FROM requests WHERE status >= 500 ORDER BY path"
    return connection.execute(busiest).fetchall(), connection.execute(slow).fetchall()


def write_csv(records):
    output = io.StringIO(newline="")
    writer = csv.DictWriter(output, fieldnames=list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return output.getvalue()


def main():
    text = log(random.Random(7))
    records = parse(text)
    connection = store(records)
    busiest, slow = ask(connection)
    table = write_csv(records)
    read = list(csv.DictReader(io.StringIO(table)))
    document = json.dumps({"records": read, "busiest": busiest, "slow": slow})  #: dumps
    back = json.loads(document)
    hosts = Counter(record["host"] for record in back["records"])
    print(len(records), len(busiest), len(slow), len(document), len(hosts), read == records)


main()
gc.collect()
bytearray(1017)  #: end
