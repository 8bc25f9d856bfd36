"""A command line tool that imports much and computes little: it colors source files as HTML pages and puts them in a
zip file in memory, as `pygmentize` would. Its heap is highest when all pages are put together.
"""

import argparse
import ast
import configparser
import doctest
import email.mime.text
import gc
import inspect
import io
import logging.config
import pathlib
import pydoc
import tomllib
import unittest.mock
import xml.dom.minidom
import zipfile

import jinja2
import markdown_it
from pygments import highlight, lexers
from pygments.formatters import get_formatter_by_name

TEMPLATE = jinja2.Template("<h1>{{ name }}</h1>{% for line in lines %}<p>{{ line|e }}</p>{% endfor %}{{ body }}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--style", default="default")
    parser.add_argument("--modules", nargs="*", default=["argparse", "ast", "configparser"])
    return parser.parse_args()


def page(name, style):
    source = pathlib.Path(inspect.getsourcefile(globals()[name])).read_text()
    functions = [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    formatter = get_formatter_by_name("html", style=style, linenos=True)
    body = highlight(source[:30_000], lexers.get_lexer_by_name("python"), formatter)
    return TEMPLATE.render(name=name, lines=functions, body=body)


def settings():
    parser = configparser.ConfigParser()
    parser.read_string("[logging]\nlevel = warning\n[page]\nwidth = 80\n")
    logging.config.dictConfig({"version": 1, "root": {"level": parser["logging"]["level"].upper()}})
    return tomllib.loads("name = 'pages'\nwidths = [1, 2, 3]")


def main():
    options = arguments()
    archive, pages = io.BytesIO(), []
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as output:
        for name in options.modules:
            pages.append(page(name, options.style))
            output.writestr(zipfile.ZipInfo(f"{name}.html"), pages[-1])
        output.writestr(zipfile.ZipInfo("read.html"), markdown_it.MarkdownIt().render("# Pages\n\n* one\n" * 50))
    message = email.mime.text.MIMEText(repr(settings()))
    document = xml.dom.minidom.parseString("<pages>" + "<page/>" * 200 + "</pages>")
    print(len(archive.getvalue()), len(message.as_string()), len(document.toprettyxml()))
    return len("".join(pages * 9))  #: book


main()
gc.collect()
bytearray(1017)  #: end
