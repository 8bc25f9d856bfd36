"""Tables with pandas: built, grouped, joined, changed as text, written as CSV and read back.
"""

import gc
import io

import numpy as np
import pandas as pd


def table(rows_count, seed):
    numbers = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "key": numbers.integers(0, 300, rows_count),
            "value": numbers.random(rows_count),
            "shelf": [f"shelf {index % 97}" for index in range(rows_count)],
        }
    )


def step(seed):
    left, right = table(12_000, seed), table(4000, seed + 100)
    groups = left.groupby("key").agg({"value": ["mean", "sum", "max"]})
    joined = left.merge(right.drop_duplicates("key"), on="key", suffixes=("_left", "_right"))
    joined["label"] = joined["shelf_left"].str.upper() + "-" + joined["shelf_right"].str[:2]
    text = io.StringIO()
    joined.head(6000).to_csv(text, index=False)
    text.seek(0)
    back = pd.read_csv(text)
    return float(groups.iloc[:, 0].sum()) + len(back), joined


def main():
    total, kept = 0.0, []
    for seed in range(3):
        figure, joined = step(seed)
        total += figure
        kept.append(joined)
    print(round(total, 4), len(pd.concat(kept)))


main()
gc.collect()
bytearray(1017)  #: end
