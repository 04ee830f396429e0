"""Writes test/cli/golden/drift-sets.json: two small data sets with gaps and ties, and what scipy says of their columns.

Usage: as statistics.py beside it.
"""
import json
import pathlib

import numpy as np
import scipy
from scipy import stats

TARGET = pathlib.Path(__file__).resolve().parents[2] / "test" / "cli" / "golden"
RNG = np.random.default_rng(7)


def data(n, shift, weights):
    return {
        "bell": [round(float(v), 4) for v in RNG.normal(shift, 1, n)],
        "steps": [int(v) for v in RNG.integers(0, 7, n)],
        "gaps": [None if RNG.random() < 0.1 else round(float(RNG.exponential(3)), 3) for _ in range(n)],
        "color": [str(c) for c in RNG.choice(["red", "green", "blue", "grey"], n, p=weights)],
    }


def expected(x, y):
    result = {}
    for name in ("bell", "steps", "gaps"):
        a = [v for v in x[name] if v is not None]
        b = [v for v in y[name] if v is not None]
        ks = stats.ks_2samp(a, b, method="asymp")
        cvm = stats.cramervonmises_2samp(a, b)
        result[name] = {
            "ks": [ks.statistic, ks.pvalue],
            "cramer_von_mises": [cvm.statistic, cvm.pvalue],
            "wasserstein": stats.wasserstein_distance(a, b),
        }
    names = sorted(set(x["color"]) | set(y["color"]))
    table = [[side["color"].count(n) for n in names] for side in (x, y)]
    c = stats.chi2_contingency(table, correction=False)
    result["color"] = {"chi2": [c.statistic, c.pvalue, int(c.dof)]}
    return result


def main():
    x, y = data(400, 0, [0.4, 0.3, 0.3, 0]), data(250, 0.5, [0.3, 0.3, 0.3, 0.1])
    TARGET.mkdir(parents=True, exist_ok=True)
    body = {"made_by": f"scripts/golden/sets.py, scipy {scipy.__version__}", "reference": x, "current": y, "expected": expected(x, y)}
    (TARGET / "drift-sets.json").write_text(json.dumps(body) + "\n")


main()
