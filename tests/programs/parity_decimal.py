"""Phone bills in decimals: pyperformance's case `telco`, once, as a module."""

import gc
import importlib.util
import pathlib

import pyperformance

FOLDER = pathlib.Path(pyperformance.__file__).parent / "data-files/benchmarks/bm_telco"


def main():
    specification = importlib.util.spec_from_file_location("telco", FOLDER / "run_benchmark.py")
    telco = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(telco)
    telco.bench_telco(1, FOLDER / "data/telco-bench.b")
    print([bytes(90_000 + index) for index in range(30)][-1][-1])


main()
gc.collect()
bytearray(1017)  #: end
