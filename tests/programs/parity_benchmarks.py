"""Cases of pyperformance, each once and without its timer: constraint solvers, an operating system's scheduler, a bzip2
decoder, a ray tracer, Go, puzzles, regular expressions, XML, pretty printing, copies, and phone bills in decimals.
"""

import gc
import importlib.util
import pathlib
import pprint
import sys

import pyperformance

CASES = pathlib.Path(pyperformance.__file__).parent / "data-files/benchmarks"


def case(name):
    path = CASES / f"bm_{name}" / "run_benchmark.py"
    specification = importlib.util.spec_from_file_location(f"case_{name}", path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module, path.parent / "data"


def main():
    case("deltablue")[0].delta_blue(60)
    case("richards")[0].Richards().run(1)
    pyflate, data = case("pyflate")
    with open(data / "interpreter.tar.bz2", "rb") as file:
        field = pyflate.RBitfield(file)
        assert field.readbits(16) == 0x425A
        unpacked = pyflate.bzip2_main(field)  #: unpacked
    case("raytrace")[0].bench_raytrace(1, 20, 20, None)
    case("hexiom")[0].main(1, 25)
    case("regex_effbot")[0].bench_regex_effbot(1)
    case("sqlite_synth")[0].bench_sqlite(40)
    case("deepcopy")[0].benchmark(20)
    case("telco")
    text = pprint.pformat([{"name": f"case {index}", "sizes": (index, "x" * (index % 90))} for index in range(800)])
    pages = [unpacked, text.encode() * 20]
    print(len(unpacked), len(text), len(b"".join(pages)))


main()
gc.collect()
bytearray(1017)  #: end
