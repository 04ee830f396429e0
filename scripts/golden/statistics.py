"""Writes test/math/golden/*.json from scipy: the reference values of the statistics in src/math.

Usage: python3 -m venv /tmp/venv && /tmp/venv/bin/pip install scipy && /tmp/venv/bin/python scripts/golden/statistics.py
"""
import json
import math
import pathlib
import warnings
from fractions import Fraction

import numpy as np
import scipy
from scipy import special, stats
from scipy.spatial.distance import jensenshannon

warnings.simplefilter("ignore")
TARGET = pathlib.Path(__file__).resolve().parents[2] / "test" / "math" / "golden"
RNG = np.random.default_rng(20261121)


def write(name, value):
    TARGET.mkdir(parents=True, exist_ok=True)
    body = {"made_by": f"scripts/golden/statistics.py, scipy {scipy.__version__}", **value}
    (TARGET / f"{name}.json").write_text(json.dumps(body) + "\n")


def rounded(values, digits):
    return [float(v) for v in np.round(values, digits)]


def pairs():
    normal = RNG.normal
    yield "same", rounded(normal(size=120), 4), rounded(normal(size=90), 4)
    yield "shift", rounded(normal(size=150), 4), rounded(normal(0.6, 1, 60), 4)
    yield "spread", rounded(normal(size=80), 4), rounded(normal(0, 2, 200), 4)
    yield "ties", rounded(normal(size=100), 0), rounded(normal(0.3, 1, 130), 0)
    yield "small", rounded(normal(size=9), 3), rounded(normal(1, 1, 7), 3)
    yield "small_ties", rounded(normal(size=8), 0), rounded(normal(size=12), 0)
    yield "twenty", rounded(normal(size=20), 3), rounded(normal(0.4, 1, 18), 3)
    yield "far", rounded(normal(size=60), 3), rounded(normal(5, 1, 70), 3)
    yield "offset", rounded(normal(1e6, 1, 90), 3), rounded(normal(1e6 + 0.5, 1, 90), 3)
    yield "half", rounded(normal(size=6), 3), rounded(normal(size=2), 3)


def two_sample(name, x, y):
    ks = stats.ks_2samp(x, y, method="asymp")
    exact = stats.ks_2samp(x, y, method="exact")
    cvm = stats.cramervonmises_2samp(x, y)
    ad = stats.anderson_ksamp([np.array(x), np.array(y)], variant="midrank")
    return {
        "name": name, "x": x, "y": y,
        "ks": [ks.statistic, ks.pvalue], "ks_exact_p": exact.pvalue,
        "cvm": [cvm.statistic, cvm.pvalue], "ad": [ad.statistic, ad.pvalue],
        "wasserstein": stats.wasserstein_distance(x, y),
    }


def kstwo():
    rows = []
    for n in [1, 2, 5, 20, 83, 140, 141, 143, 600, 5000, 99999, 100001, 1000000]:
        for z in [0.2, 0.45, 0.7, 1.0, 1.4, 1.47, 1.5, 1.9, 2.1, 3.0, 4.5]:
            d = z / np.sqrt(n)
            rows.append([n, d, float(stats.kstwo.sf(d, n))])
    return rows


def tables():
    rows = [[[10, 20, 30], [15, 18, 40]], [[5, 0, 3, 90], [1, 4, 0, 60]], [[50, 50], [30, 70]], [[500, 3], [480, 0]]]
    for k in (12, 60):
        rows.append([RNG.integers(0, 80, k).tolist(), RNG.integers(0, 20, k).tolist()])
    result = []
    for x, y in rows:
        keep = [i for i in range(len(x)) if x[i] + y[i] > 0]
        t = np.array([[x[i] for i in keep], [y[i] for i in keep]])
        c = stats.chi2_contingency(t, correction=False)
        p, q = t[0] / t[0].sum(), t[1] / t[1].sum()
        result.append({
            "x": x, "y": y, "chi2": [c.statistic, c.pvalue, int(c.dof)],
            "cramers_v": stats.contingency.association(t, method="cramer"),
            "jensen_shannon": float(jensenshannon(p, q, 2)),
            "hellinger": float(np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2) / 2)),
            "l_infinity": float(np.max(np.abs(p - q))),
        })
    return result


def proportions():
    result = []
    for hx, nx, hy, ny in [(480, 500, 170, 200), (5, 10, 5, 10), (0, 500, 4, 100), (300, 500, 0, 50), (9, 10, 1, 12), (470, 500, 960, 1000)]:
        t = [[hy, ny - hy], [hx, nx - hx]]
        ci = stats.binomtest(hy, ny).proportion_ci(0.95, method="wilson")
        result.append({
            "table": [hx, nx, hy, ny],
            "greater": stats.fisher_exact(t, alternative="greater").pvalue,
            "less": stats.fisher_exact(t, alternative="less").pvalue,
            "wilson": [ci.low, ci.high],
        })
    return result


def hypergeometric_tail(hx, nx, hy, ny, upwards):
    """P(hits of y >= observed) or P(<= observed) in exact rational arithmetic, rounded once."""
    hits, total = hx + hy, math.comb(nx + ny, hx + hy)
    low, high = (hy, min(hits, ny)) if upwards else (max(0, hits - nx), hy)
    term = math.comb(ny, low) * math.comb(nx, hits - low)
    ways = term
    for k in range(low, high):
        term = term * (ny - k) * (hits - k) // ((k + 1) * (nx - hits + k + 1))
        ways += term
    return float(Fraction(ways, total))


FISHER = [
    (3, 10, 7, 12), (8, 500, 2, 20), (0, 3000, 40, 3000), (250, 5000, 5000, 5000), (0, 400, 400, 400),
    (0, 520, 500, 520), (0, 5000, 3000, 3000), (3000, 3000, 0, 5000), (2500, 5000, 0, 5000), (0, 5000, 900, 5000),
    (500, 5000, 5000, 5000), (4000, 8000, 0, 2000), (0, 20000, 4000, 20000), (1, 1, 0, 20000), (0, 5000, 760, 5000),
    (0, 5000, 950, 5000), (0, 5000, 970, 5000), (0, 5000, 990, 5000), (0, 5000, 1000, 5000),
]


def fisher():
    """Tables whose p-value is ordinary, below 1e-308 (no normal double) and below 5e-324 (no double at all)."""
    result = []
    for table in FISHER:
        hx, nx, hy, ny = table
        greater, less = (hypergeometric_tail(*table, upwards) for upwards in (True, False))
        both = [[hy, ny - hy], [hx, nx - hx]]
        for side, exact in (("greater", greater), ("less", less)):
            p = stats.fisher_exact(both, alternative=side).pvalue
            assert math.isclose(p, exact, rel_tol=1e-6, abs_tol=1e-300), (table, side, p, exact)
        result.append({"table": table, "greater": greater, "less": less})
    return result


def laws():
    return {
        "gammaln": [[x, float(special.gammaln(x))] for x in [0.1, 0.5, 1, 2, 3.7, 9.99, 10, 55.5, 1e3, 1e6, 1e9]],
        "chi2_sf": [[x, k, float(stats.chi2.sf(x, k))] for k in [1, 2, 7, 63, 1000] for x in [0.01, 0.5 * k, k, 1.5 * k, 3 * k + 30]],
        "normal_sf": [[z, float(stats.norm.sf(z))] for z in [-3, -0.5, 0, 0.1, 1, 1.96, 4, 8, 20]],
        "normal_ppf": [[p, float(stats.norm.ppf(p))] for p in [1e-9, 0.001, 0.025, 0.3, 0.5, 0.9, 0.975, 0.9999]],
        "bessel_kve": [[v, z, float(special.kve(v, z))] for v in [0.25, 0.75] for z in [0.002, 0.05, 1, 7, 300]],
    }


def main():
    write("two-sample", {"cases": [two_sample(*case) for case in pairs()]})
    write("kstwo", {"rows": kstwo()})
    write("tables", {"cases": tables()})
    write("proportions", {"cases": proportions()})
    write("fisher-exact", {"cases": fisher()})
    write("laws", laws())
    p = [0.01, 0.04, 0.03, 0.005, 0.55, 0.04]
    write("benjamini-hochberg", {"p": p, "q": stats.false_discovery_control(p).tolist()})


main()
