"""A Flask application behind a real server, asked over the loopback by a client in the same process.

The server handles one connection at a time in a thread of its own, so what is done does not depend on who is faster.
Its heap is highest when the client holds all answers.
"""

import gc
import http.client
import json
import logging
import threading

from flask import Flask, jsonify, render_template_string, request
from werkzeug.serving import make_server

PAGE = """<ul>{% for book in books %}<li class="{{ loop.cycle('odd', 'even') }}">{{ book.title|title }}
{{ "%.2f"|format(book.price) }} {{ book.note|truncate(30) }}</li>{% endfor %}</ul>"""
BOOKS = [
    {"title": f"volume {index}", "price": index * 0.75, "note": "lorem ipsum dolor " * 3} for index in range(60)
]
application = Flask(__name__)


@application.get("/books")
def books():
    first = int(request.args["first"])
    return render_template_string(PAGE, books=BOOKS[first % 30 :])


@application.post("/orders")
def orders():
    order = request.get_json()
    return jsonify(total=sum(order["prices"]), lines=[{"title": title} for title in order["titles"]])


def ask(port):
    answers = []
    for index in range(60):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", f"/books?first={index}")
        answers.append(connection.getresponse().read())
        order = {"prices": list(range(index)), "titles": [f"volume {number}" for number in range(index)]}
        connection.close()
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/orders", json.dumps(order), {"Content-Type": "application/json"})
        answers.append(connection.getresponse().read())
        connection.close()
    return answers


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, application)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    answers = ask(server.server_port)
    gc.collect()
    text = b"".join(answers * 200)
    server.shutdown()
    thread.join()
    server.server_close()
    print(len(answers), len(text))


main()
gc.collect()
bytearray(1017)  #: end
