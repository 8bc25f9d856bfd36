"""Arrays with numpy: many small ones, large temporaries, sorting, linear algebra, Fourier transforms and a file of
arrays in memory. Its heap is highest with the large matrices of the least squares.
"""

import gc
import io

import numpy as np


def small(count):
    total = 0.0
    for index in range(count):
        values = np.arange(300 + index % 200, dtype=np.float64)
        total += float((values * 2 + 1).sum())
    return total


def normalized(matrix):
    return (matrix - matrix.mean(axis=0)) / (matrix.std(axis=0) + 1e-9)


def sort(numbers):
    matrix = numbers.standard_normal((700, 500))
    return float(np.sort(normalized(matrix), axis=1)[:, 0].sum())


def fit(numbers):
    inputs = numbers.standard_normal((900, 240))
    outputs = inputs @ numbers.standard_normal(240) + 1
    solution, *_ = np.linalg.lstsq(inputs, outputs)
    return float(abs(solution).sum())


def spectrum(numbers):
    signal = numbers.standard_normal(1 << 17)
    # To reuse a large operand numpy asks `backtrace` who calls; at the first time the C library loads `libgcc_s` for it.
    halved = np.fft.rfft(signal) * 0.5  #: The dynamic loader
    return float(abs(np.fft.irfft(halved)).max())


def archive(numbers):
    output = io.BytesIO()
    np.savez_compressed(output, a=numbers.integers(0, 9, 200_000), b=np.eye(120))
    output.seek(0)
    with np.load(output) as arrays:
        return int(arrays["a"].sum()) + int(arrays["b"].sum())


def main():
    numbers = np.random.default_rng(1)
    figures = [small(6000), sort(numbers), fit(numbers), spectrum(numbers), archive(numbers)]
    print(*(round(figure, 3) for figure in figures))


main()
gc.collect()
bytearray(1017)  #: end
