#!/usr/bin/env python3
"""Reference values for the metrics of rec-core.

Writes `metrics.json` beside this file: small random and adversarial cases with the value of each
metric per user and averaged. Each value is computed here twice or more:

  (a) by plain float64 Python written from the formulas below (the values stored), and
  (b) by independent packages. The script asserts that (a) and (b) agree to 1e-9 and stops otherwise;
      the packages' own averages are stored as well (`package_mean`, `package`).

Packages: trec_eval (through pytrec-eval-terrier), ranx, RecBole 1.2.1 (`recbole.evaluator.metrics`),
scikit-learn, Cornac (`rating_eval`). To run:

    python3 -m venv venv && . venv/bin/activate
    pip install numpy scipy scikit-learn ranx pytrec-eval-terrier cornac
    pip install torch pandas colorlog colorama pyyaml tqdm texttable psutil tensorboard
    pip install --no-deps recbole==1.2.1
    python metrics.py            # rewrites metrics.json; `--check` only compares with it (1e-12)

The draws are seeded per case by name, so a case does not move when another one is added.

DEFINITIONS (also stored in the file, key `definitions`)

Sets of user u. M = masked items (the history). C = all items without M, or, where the case has
candidate lists, (set(candidates) united with the relevant items) without M: candidates are sets, a
repeated candidate counts once, a relevant item is ranked whether or not its list names it, and the mask
wins over both. R = relevant items without M. Every gain is an integer >= 1, and every item of R counts
as relevant for the binary metrics.

Ranked list of u: C sorted by score descending. Ties are pessimistic: among equal scores, irrelevant items
first, then item id ascending (relevant items of equal score are *not* ordered by gain). -0.0 equals 0.0.
L = the first min(K, |C|) of it; hits = L intersected with R; rank counts from 1.

  hit@K         1 if there is a hit, else 0
  recall@K      hits / |R|
  recall_min@K  hits / min(K, |R|)
  precision@K   hits / K                       (also where |C| < K)
  mrr@K         1 / rank of the first hit, 0 without one
  ndcg@K        sum over hits of 1/log2(rank+1)  /  the same sum over ranks 1..min(K, |R|)
  ndcg_exp@K    gain 2^g - 1 in place of 1; ideal: R sorted by gain descending, first min(K, |R|)
  ndcg_lin@K    gain g in place of 1; ideal likewise
  map@K         (sum over hits of precision at the hit's rank) / |R|
  map_min@K     the same sum / min(K, |R|)
  auc           P(score of a relevant item > score of an irrelevant item of C), ties one half; over all of C,
                raw scores. Undefined (null) if C \\ R is empty.
  novelty@K     mean over L of -log2(max(popularity, 1) / num_train_users)

A user with empty R is left out of every average (null per user; counted in `users_without_relevant`).
The mean of a metric is over users with a value (auc: `auc_users` of them). Over the lists L of users with
a non-empty R:

  coverage@K    number of distinct items in any L / num_items
  gini@K        Gini index of exposure over all num_items items (unrecommended items count as 0): with the
                exposure counts ascending x_1 <= ... <= x_n, sum_i (2i - n - 1) x_i / (n * sum_i x_i)

`all_users` holds coverage, gini and novelty over every user with a non-empty C instead.

Pointwise lists (user, label, prediction), rows in any order:
  auc           over all rows, ties one half; null if only one class is present
  logloss       natural log, p clipped to [1e-7, 1 - 1e-7] in float64, mean over rows
  logloss_eps64 the same with scikit-learn's default clip for float64, 2.220446049250313e-16
  gauc          sum_u n_u auc_u / sum_u n_u, n_u = rows of user u (impressions); users with one class are
                dropped from both sums (`gauc_dropped`); null if none is left
  gauc_positives  RecBole's GAUC: the weight is the number of positive rows instead
Rating lists (user, item, rating, prediction):
  rmse, mae     `global` over all rows; `mean_user`: mean over users of the user's own rmse / mae (what
                Cornac calls user_based=True)

WHERE A PACKAGE'S DEFINITION DIFFERS, and what was compared then
  * Tie rules. No package is pessimistic by itself. trec_eval breaks ties by document name descending:
    the names given to it are chosen so that this equals the rule above, and it sorts the raw scores itself.
    ranx, RecBole and scikit-learn's ndcg_score get strictly decreasing scores in our order.
    (scikit-learn's ndcg_score on raw scores averages over the orders of tied items: another number.)
  * trec_eval has no cut-off for recip_rank: compared as recip_rank if 1/recip_rank <= K, else 0. Its `map_cut`
    is map@K, `relative_P` is recall_min@K, `success` is hit@K, `ndcg_cut` has gain g (ndcg_exp is given
    the gains 2^g - 1). ranx: `ndcg` has gain g, `ndcg_burges` 2^g - 1, `map` is map@K.
  * RecBole's MAP is map_min@K; its NDCG is binary.
  * RecBole's GAUC weights by positives; its per-user value (one user at a time) is `auc`.
  * RecBole's LogLoss clips at 1e-15: compared on predictions already clipped. scikit-learn's log_loss likewise
    for `logloss`, and on raw predictions for `logloss_eps64`.
  * RecBole's coverage and Gini take a rectangular matrix; lists of unequal length are given flattened.
    Gini is compared also with half the relative mean absolute difference.
  * Novelty: no package with this normalisation (by train users) was found; only the averaging is compared
    (RecBole's AveragePopularity.metric_info over -log2 values).
"""
import json
import logging
import math
import os
import sys
import warnings
import zlib
from importlib.metadata import version

for _v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_v, "1")

import numpy as np

for _n, _t in (("float", float), ("bool", bool), ("int", int), ("object", object)):
    if _n not in np.__dict__:  # RecBole 1.2.1 was written for numpy < 1.24
        setattr(np, _n, _t)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import cornac
import pytrec_eval
import ranx
import sklearn
import recbole
from cornac.data import Dataset
from cornac.eval_methods.base_method import rating_eval
from cornac.metrics import MAE as CornacMAE, RMSE as CornacRMSE
from recbole.evaluator import metrics as rb
from scipy.stats import rankdata
from sklearn.metrics import (log_loss, mean_absolute_error, mean_squared_error, ndcg_score,
                             roc_auc_score)

TOL = 1e-9
KS = [1, 5, 10, 20]
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "metrics.json")
TOPK = ["hit", "recall", "recall_min", "precision", "mrr", "ndcg", "ndcg_exp", "ndcg_lin", "map", "map_min"]
F32_MAX = float(np.finfo(np.float32).max)
DENORM = float(np.float32(1e-45))

# metric -> package -> number of values compared; and the largest difference seen
COMPARED = {}
WORST = {}


def same(metric, package, ours, theirs, where):
    """Assert that one value of ours equals a package's to TOL."""
    ours, theirs = float(ours), float(theirs)
    d = abs(ours - theirs)
    if not d <= TOL:  # also catches NaN
        raise AssertionError(f"{where}: {metric}: ours {ours!r}, {package} {theirs!r}")
    COMPARED.setdefault(metric, {}).setdefault(package, 0)
    COMPARED[metric][package] += 1
    WORST[(metric, package)] = max(WORST.get((metric, package), 0.0), d)


def rng_of(name):
    return np.random.default_rng([20240607, zlib.crc32(name.encode())])


def f32(x):
    """Rounds to float32; the float64 that comes back is exactly a float32."""
    return np.asarray(x, dtype=np.float32).astype(np.float64)


def compact(x):
    """A small whole number as an integer (shorter in the file; the same number), but never -0.0."""
    return int(x) if x == int(x) and abs(x) < 2 ** 24 and (x != 0 or math.copysign(1.0, x) > 0) else x


def mean(xs):
    xs = [x for x in xs if x is not None]
    return math.fsum(xs) / len(xs) if xs else None


# ---------------------------------------------------------------- (a) the formulas

def auc_pairs(pos, neg):
    """P(pos > neg) + P(pos = neg) / 2 by counting all pairs; exact integers until the division."""
    twice = sum(2 if p > n else 1 if p == n else 0 for p in pos for n in neg)
    return twice / (2 * len(pos) * len(neg))


def user_sets(case, u):
    masked = set(case["masked"][u])
    gains = {i: g for i, g in case["relevant"][u] if i not in masked}
    if case["candidates"] is None:
        cand = set(range(case["num_items"]))
    else:
        cand = set(case["candidates"][u]) | set(gains)
    return cand - masked, gains


def ranked(scores, cand, gains):
    return sorted(cand, key=lambda i: (-scores[i], 1 if i in gains else 0, i))


def user_topk(order, gains, k):
    """The metrics of one user with a non-empty R at one cut-off."""
    hits = [(r, gains[i]) for r, i in enumerate(order[:k], start=1) if i in gains]
    n, m = len(gains), min(k, len(gains))
    disc = lambda r: 1.0 / math.log2(r + 1)
    best = sorted(gains.values(), reverse=True)[:m]

    def ndcg(f):
        return math.fsum(f(g) * disc(r) for r, g in hits) / math.fsum(f(g) * disc(r) for r, g in enumerate(best, 1))

    prec = math.fsum((j + 1) / r for j, (r, _) in enumerate(hits))
    return {
        "hit": 1.0 if hits else 0.0,
        "recall": len(hits) / n,
        "recall_min": len(hits) / m,
        "precision": len(hits) / k,
        "mrr": 1.0 / hits[0][0] if hits else 0.0,
        "ndcg": ndcg(lambda g: 1.0),
        "ndcg_exp": ndcg(lambda g: 2.0 ** g - 1.0),
        "ndcg_lin": ndcg(float),
        "map": prec / n,
        "map_min": prec / m,
    }


def list_metrics(lists, num_items):
    """Coverage and Gini of the recommended lists; null without any."""
    count = [0] * num_items
    for l in lists:
        for i in l:
            count[i] += 1
    if sum(count) == 0:
        return None, None
    x = sorted(count)
    gini = sum((2 * i - num_items - 1) * c for i, c in enumerate(x, start=1)) / (num_items * sum(x))
    return sum(1 for c in count if c) / num_items, gini


# ---------------------------------------------------------------- ranking cases: (a), then (b)

def finish_case(case):
    name, n, ks = case["name"], case["num_items"], case["cutoffs"]
    users = range(len(case["scores"]))
    sets = [user_sets(case, u) for u in users]
    order = [ranked(case["scores"][u], *sets[u]) for u in users]
    evaluated = [u for u in users if sets[u][1]]
    pop, ntrain = case["popularity"], case["num_train_users"]
    info = [-math.log2(max(p, 1) / ntrain) for p in pop]

    per = {f"{m}@{k}": [None] * len(users) for m in TOPK + ["novelty"] for k in ks}
    per["auc"] = [None] * len(users)
    for u in evaluated:
        cand, gains = sets[u]
        for k in ks:
            for m, v in user_topk(order[u], gains, k).items():
                per[f"{m}@{k}"][u] = v
            per[f"novelty@{k}"][u] = mean([info[i] for i in order[u][:k]])
        neg = cand - set(gains)
        if neg:
            s = case["scores"][u]
            per["auc"][u] = auc_pairs([s[i] for i in gains], [s[i] for i in neg])
    avg = {key: mean(v) for key, v in per.items()}
    everyone = [u for u in users if sets[u][0]]
    all_users = {}
    for k in ks:
        avg[f"coverage@{k}"], avg[f"gini@{k}"] = list_metrics([order[u][:k] for u in evaluated], n)
        all_users[f"coverage@{k}"], all_users[f"gini@{k}"] = list_metrics([order[u][:k] for u in everyone], n)
        all_users[f"novelty@{k}"] = mean([mean([info[i] for i in order[u][:k]]) for u in everyone])

    case["users_evaluated"] = len(evaluated)
    case["users_without_relevant"] = len(users) - len(evaluated)
    case["auc_users"] = sum(v is not None for v in per["auc"])
    case["per_user"], case["mean"], case["all_users"] = per, avg, all_users
    case["package_mean"] = check_case(case, sets, order, evaluated, everyone, info) if evaluated else {}
    return case


def check_case(case, sets, order, evaluated, everyone, info):
    name, n, ks, per = case["name"], case["num_items"], case["cutoffs"], case["per_user"]
    got = {}  # package -> metric@k -> per-user values in order of `evaluated`

    def put(package, key, u, v):
        same(key.split("@")[0], package, per[key][u], v, f"{name}, user {u}, {key}")
        got.setdefault(package, {}).setdefault(key, []).append(float(v))

    cuts = ",".join(map(str, ks))
    # trec_eval: raw scores; names make its tie rule (name descending) ours
    doc = lambda u, i: f"{0 if i in sets[u][1] else 1}-{n - i:06d}"
    run = {f"{u:04d}": {doc(u, i): case["scores"][u][i] for i in sets[u][0]} for u in evaluated}

    def trec(measures, gain):
        qrel = {f"{u:04d}": {doc(u, i): gain(g) for i, g in sets[u][1].items()} for u in evaluated}
        return pytrec_eval.RelevanceEvaluator(qrel, measures).evaluate(run)

    binary = trec({f"success.{cuts}", f"recall.{cuts}", f"relative_P.{cuts}", f"P.{cuts}", "recip_rank",
                   f"ndcg_cut.{cuts}", f"map_cut.{cuts}"}, lambda g: 1)
    lin = trec({f"ndcg_cut.{cuts}"}, int)
    exp = trec({f"ndcg_cut.{cuts}"}, lambda g: 2 ** g - 1)
    for u in evaluated:
        b, q = binary[f"{u:04d}"], f"{u:04d}"
        for k in ks:
            for key, v in (("hit", b[f"success_{k}"]), ("recall", b[f"recall_{k}"]),
                           ("recall_min", b[f"relative_P_{k}"]), ("precision", b[f"P_{k}"]),
                           ("ndcg", b[f"ndcg_cut_{k}"]), ("map", b[f"map_cut_{k}"]),
                           ("ndcg_lin", lin[q][f"ndcg_cut_{k}"]), ("ndcg_exp", exp[q][f"ndcg_cut_{k}"])):
                put("trec_eval", f"{key}@{k}", u, v)
            rr = b["recip_rank"]
            put("trec_eval", f"mrr@{k}", u, rr if rr > 0 and round(1 / rr) <= k else 0.0)

    # ranx: our order as strictly decreasing scores
    rrun = ranx.Run({f"{u:04d}": {str(i): float(len(order[u]) - r) for r, i in enumerate(order[u])} for u in evaluated})

    def rx(pairs, gain):
        qrels = ranx.Qrels({f"{u:04d}": {str(i): gain(g) for i, g in sets[u][1].items()} for u in evaluated})
        res = ranx.evaluate(qrels, rrun, [f"{p}@{k}" for _, p in pairs for k in ks], return_mean=False)
        for m, p in pairs:
            for k in ks:
                for u, v in zip(evaluated, res[f"{p}@{k}"], strict=True):
                    put("ranx", f"{m}@{k}", u, v)

    rx([("hit", "hit_rate"), ("recall", "recall"), ("precision", "precision"), ("mrr", "mrr"), ("ndcg", "ndcg"),
        ("map", "map")], lambda g: 1)
    rx([("ndcg_lin", "ndcg"), ("ndcg_exp", "ndcg_burges")], int)

    # RecBole: matrix of hits, padded with misses
    kmax = max(ks)
    pos = np.zeros((len(evaluated), kmax), dtype=bool)
    for row, u in enumerate(evaluated):
        for r, i in enumerate(order[u][:kmax]):
            pos[row, r] = i in sets[u][1]
    plen = np.array([len(sets[u][1]) for u in evaluated])
    cfg = {"metric_decimal_place": 17, "topk": ks}
    recbole_mean = {}
    for m, cls, args in (("hit", rb.Hit, (pos,)), ("recall", rb.Recall, (pos, plen)), ("precision", rb.Precision, (pos,)),
                         ("mrr", rb.MRR, (pos,)), ("ndcg", rb.NDCG, (pos, plen)), ("map_min", rb.MAP, (pos, plen))):
        metric = cls(cfg)
        res = metric.metric_info(*args)
        recbole_mean.update(metric.topk_result(m, res))
        for k in ks:
            for row, u in enumerate(evaluated):
                put("recbole", f"{m}@{k}", u, res[row, k - 1])
    for u in evaluated:
        s, (cand, gains) = case["scores"][u], sets[u]
        items = sorted(cand)
        y, x = np.array([i in gains for i in items], dtype=int), np.array([s[i] for i in items])
        if per["auc"][u] is not None:
            put("sklearn", "auc", u, roc_auc_score(y, x))
            ranks = rankdata(-x, method="average")
            put("recbole", "auc", u, rb.GAUC(cfg).metric_info(
                np.array([[ranks[y == 1].sum()]]), np.array([len(items)]), np.array([len(gains)])))
        if len(order[u]) > 1:
            sc = np.arange(len(order[u]), 0, -1, dtype=float)[None]
            for m, f in (("ndcg", lambda g: 1.0), ("ndcg_lin", float), ("ndcg_exp", lambda g: 2.0 ** g - 1)):
                t = np.array([[f(gains[i]) if i in gains else 0.0 for i in order[u]]])
                for k in ks:
                    same(m, "sklearn", per[f"{m}@{k}"][u], ndcg_score(t, sc, k=k), f"{name}, user {u}, {m}@{k}")

    # lists
    for us, ours, tag in ((evaluated, case["mean"], ""), (everyone, case["all_users"], " over all users")):
        for k in ks:
            flat = np.array([[i for u in us for i in order[u][:k]]])
            cov, gini = rb.ItemCoverage(cfg).get_coverage(flat, n), rb.GiniIndex(cfg).get_gini(flat, n)
            same("coverage", "recbole", ours[f"coverage@{k}"], cov, f"{name}, coverage@{k}{tag}")
            same("gini", "recbole", ours[f"gini@{k}"], gini, f"{name}, gini@{k}{tag}")
            c = np.bincount(flat[0], minlength=n).astype(float)
            same("gini", "mean difference (numpy)", ours[f"gini@{k}"],
                 np.abs(c[:, None] - c[None]).mean() / (2 * c.mean()), f"{name}, gini@{k}{tag}")
            if us is evaluated:
                recbole_mean[f"coverage@{k}"], recbole_mean[f"gini@{k}"] = float(cov), float(gini)
    for row, u in enumerate(evaluated):
        vals = np.array([[info[i] for i in order[u][:kmax]]])
        cum = rb.AveragePopularity(cfg).metric_info(vals)[0]
        for k in ks:
            same("novelty", "recbole (averaging)", per[f"novelty@{k}"][u], cum[min(k, len(cum)) - 1], f"{name}, novelty@{k}")

    out = {p: {key: float(np.mean(v)) for key, v in d.items()} for p, d in got.items()}
    out["recbole"].update({key: float(v) for key, v in recbole_mean.items()})  # its own averages
    for p, d in out.items():
        for key, v in d.items():
            same(key.split("@")[0], p, case["mean"][key], v, f"{name}, mean {key}")
    return out


# ---------------------------------------------------------------- the ranking cases

def build(name, note, scores, relevant, masked=None, candidates=None, cutoffs=KS):
    scores = np.asarray(scores, dtype=np.float64)
    assert np.isfinite(scores).all() and (f32(scores) == scores).all(), name
    nu, ni = scores.shape
    rng = rng_of(name + "/popularity")
    ntrain = 1000
    pop = np.minimum(ntrain, np.floor(ntrain * rng.pareto(1.2, ni) / 20)).astype(int)
    pop[rng.integers(ni)] = 0        # never seen in training: counts as 1
    pop[rng.integers(ni)] = ntrain   # seen by all: novelty 0
    plain = lambda rows: [[int(i) for i in r] for r in rows]
    case = {
        "name": name, "note": note, "num_users": nu, "num_items": ni, "cutoffs": list(cutoffs),
        "scores": [[compact(x) for x in row] for row in scores.tolist()],
        "masked": plain(masked) if masked is not None else [[] for _ in range(nu)],
        "relevant": [[[int(i), int(g)] for i, g in r] for r in relevant],
        "candidates": plain(candidates) if candidates is not None else None,
        "popularity": pop.tolist(), "num_train_users": ntrain,
    }
    for r in case["relevant"]:
        assert len({i for i, _ in r}) == len(r) and all(0 <= i < ni and g >= 1 for i, g in r)
    return finish_case(case)


def pick(rng, ni, lo, hi, exclude=(), like=None, graded=False):
    """Between lo and hi relevant items outside `exclude`, leaning to the top of `like`, in random order."""
    pool = np.array([i for i in range(ni) if i not in exclude])
    n = min(int(rng.integers(lo, hi + 1)), len(pool))
    if like is None:
        items = rng.choice(pool, n, replace=False)
    else:
        z = np.argsort(np.argsort(like[pool])) / max(len(pool), 1) + 0.35 * rng.standard_normal(len(pool))
        items = rng.permutation(pool[np.argsort(-z)[:n]])
    return [(i, int(rng.integers(1, 6)) if graded else 1) for i in items]


def random_case(name, note, nu, ni, score, graded=False, lo=1, hi=10, mask=15, empty=0.1, **kw):
    rng = rng_of(name)
    s, masked, rel = f32(score(rng, (nu, ni))), [], []
    for u in range(nu):
        m = sorted(rng.choice(ni, int(rng.integers(0, mask + 1)), replace=False)) if mask else []
        masked.append(m)
        rel.append([] if rng.random() < empty else pick(rng, ni, lo, hi, set(m), s[u], graded))
    return build(name, note, s, rel, masked, **kw)


def ranking_cases():
    cases = []
    add = cases.append
    add(random_case("random_binary", "full float32 scores", 12, 64, lambda r, s: r.standard_normal(s)))
    add(random_case("random_binary_large", "whole numbers as scores, some ties", 25, 256,
                    lambda r, s: r.integers(-99, 1000, s), hi=30, mask=60, empty=0.08))
    add(random_case("random_graded", "ratings 1-5 as gains", 20, 100,
                    lambda r, s: np.round(r.standard_normal(s) * 256) / 256, graded=True, lo=1, hi=25))
    add(random_case("all_equal", "every score is 0.5: the tie rule alone orders", 6, 40,
                    lambda r, s: np.full(s, 0.5), graded=True, hi=20, empty=0))
    add(random_case("heavy_ties_binary", "five levels", 20, 60, lambda r, s: r.integers(0, 5, s)))
    add(random_case("heavy_ties_graded", "three levels; equal scores are not ordered by gain", 16, 60,
                    lambda r, s: r.integers(0, 3, s) / 2, graded=True, hi=25))

    name, rng = "tie_across_cutoff", rng_of("tie_across_cutoff")
    scores, rel = [], []
    for k in KS:
        for variant in range(3):  # group of equal scores at ranks max(1,k-2) .. k+4; some of it relevant
            order, s = rng.permutation(60), np.zeros(60)
            s[order] = np.arange(60, 0, -1)
            group = order[max(0, k - 3):k + 4]
            s[group] = s[group[0]]
            n = (1, len(group) // 2, len(group))[variant]
            scores.append(s)
            rel.append([(i, 1 + j % 5) for j, i in enumerate(rng.choice(group, n, replace=False))])
    add(build(name, "a group of equal scores lies across rank K, for each K; one, half or all of it relevant", scores, rel))

    name, rng = "extreme_magnitudes", rng_of("extreme_magnitudes")
    pool = f32([F32_MAX, -F32_MAX, float(np.nextafter(np.float32(F32_MAX), np.float32(0))), 1e38, -1e38, 3e38, -3e38, 1e30,
                1e-30, -1e-30, 1.17549435e-38, 1.0, -1.0, 0.0, 16777216.0, 16777218.0, 1e10, -1e10, 1e20, -1e20])
    s = rng.choice(pool, (10, 48))
    add(build(name, "scores to +-float32 max", s, [pick(rng, 48, 1, 12, like=s[u], graded=True) for u in range(10)]))

    name, rng = "zeros_and_denormals", rng_of("zeros_and_denormals")
    pool = f32([0.0, -0.0, DENORM, -DENORM, 2 * DENORM, -2 * DENORM, 3 * DENORM, 1.1754942e-38, 1.17549435e-38, -1.1754942e-38])
    s = rng.choice(pool, (12, 40))
    s[0] = rng.choice(pool[:2], 40)
    add(build(name, "-0.0 equals 0.0; denormals are distinct (no flush to zero). User 0 has only zeros of both signs", s,
              [pick(rng, 40, 1, 10, like=s[u]) for u in range(12)]))

    name, rng = "one_ulp", rng_of("one_ulp")
    scores = []
    for base in (1.0, -1.0, 0.1, 16777216.0, 1e-3, 3e38):
        row = [np.float32(base)]
        while len(row) < 30:
            row.append(np.nextafter(row[-1], np.float32(np.inf if base < 3e38 else 0)))
        scores.append(rng.permutation(np.array(row, dtype=np.float64)))
    add(build(name, "neighbouring float32 values in random order", scores, [pick(rng, 30, 1, 12, like=x) for x in scores]))

    add(random_case("one_user", "", 1, 50, lambda r, s: r.standard_normal(s), graded=True, empty=0, lo=4, hi=8))

    name, rng = "almost_all_masked", rng_of("almost_all_masked")
    s = f32(np.round(rng.standard_normal((7, 30)) * 256) / 256)
    s[6, 3] = s[6, 4]
    keep = [[7], [7], [7], [], [3, 9], [3, 9], [3, 4]]
    add(build(name, "left unmasked: the relevant item (auc null); an irrelevant one (no relevance); an irrelevant one "
                    "while relevant ones are masked; nothing; two of which one / both relevant; two tied, one relevant",
              s, [[(7, 3)], [], [(2, 1), (5, 4)], [(2, 1)], [(3, 5)], [(9, 1), (3, 5)], [(3, 2)]],
              [[i for i in range(30) if i not in k] for k in keep]))

    add(random_case("relevant_masked", "relevant items that are masked are not relevant", 10, 50,
                    lambda r, s: r.integers(0, 64, s) / 8, mask=0, hi=8))
    c = cases.pop()
    rng = rng_of("relevant_masked/mask")
    masked = []
    for u, r in enumerate(c["relevant"]):
        items = [i for i, _ in r]
        masked.append(sorted(set(items[: (len(items) if u % 3 == 0 else len(items) // 2)]) | set(rng.choice(50, 5).tolist())))
    add(build("relevant_masked", c["note"], c["scores"], c["relevant"], masked))

    add(random_case("few_items", "K beyond the number of items", 8, 7, lambda r, s: r.integers(0, 6, s) / 4, graded=True, hi=4,
                    mask=3, cutoffs=[1, 3, 5, 7, 8, 10, 20, 100]))

    name, rng = "many_relevant", rng_of("many_relevant")
    s = f32(np.round(rng.standard_normal((9, 80)) * 1024) / 1024)
    rel = [pick(rng, 80, 21, 60, like=s[u], graded=True) for u in range(8)] + [[(i, 1 + i % 5) for i in range(80)]]
    add(build(name, "|R| > K; for the last user every item is relevant (auc null)", s, rel))

    name, rng = "no_hits", rng_of("no_hits")
    s = np.array([rng.permutation(60) for _ in range(6)], dtype=float)
    add(build(name, "all relevant items lie below rank 20", s,
              [[(i, 2) for i in np.argsort(s[u])[: 1 + 4 * u]] for u in range(6)]))

    name, rng = "rank_at_cutoff", rng_of("rank_at_cutoff")
    s = np.array([rng.permutation(40) for _ in range(8)], dtype=float) / 4 - 3
    add(build(name, "one relevant item, at rank exactly K and K + 1 for each K", s,
              [[(np.argsort(-s[u])[KS[u // 2] - 1 + u % 2], 1 + u % 5)] for u in range(8)]))

    add(random_case("nobody_has_relevance", "every average is null", 4, 20, lambda r, s: r.integers(0, 9, s), empty=2.0))

    def candidate_case(name, note, ni, score, graded, fill):
        rng = rng_of(name)
        nu = 12
        s, masked, rel, cand = f32(score(rng, (nu, ni))), [], [], []
        for u in range(nu):
            m = sorted(rng.choice(ni, 8, replace=False).tolist())
            r = pick(rng, ni, 1, 5 if graded else 1, set(m), s[u], graded)
            masked.append(m)
            rel.append(r)
            cand.append(fill(rng, u, m, [i for i, _ in r]))
        add(build(name, note, s, rel, masked, cand))

    def negatives(rng, ni, without, n):
        return rng.choice([i for i in range(ni) if i not in without], n, replace=False).tolist()

    candidate_case("candidates_with_positive", "one positive and 30 others; the list repeats the positive and some others", 90,
                   lambda r, s: np.round(r.standard_normal(s) * 512) / 512, False,
                   lambda r, u, m, p: r.permutation((n := negatives(r, 90, set(m) | set(p), 30)) + p * (1 + u % 3) + n[: u % 7]).tolist())
    candidate_case("candidates_without_positive", "the list holds the negatives only; relevant items are ranked with them", 90,
                   lambda r, s: np.round(r.standard_normal(s) * 512) / 512, True,
                   lambda r, u, m, p: negatives(r, 90, set(m) | set(p), 30))
    candidate_case("candidates_ties_and_masked", "few score levels, repeats, masked items inside the list (the mask wins), "
                   "short lists (K beyond them)", 60, lambda r, s: r.integers(0, 4, s), True,
                   lambda r, u, m, p: r.permutation(r.choice(60, 1 + 3 * u).tolist() + m[:4] + p).tolist())
    return cases


# ---------------------------------------------------------------- pointwise and rating lists

def logloss(y, p, eps):
    p = [min(max(x, eps), 1.0 - eps) for x in p]
    return math.fsum(-math.log(x) if t else -math.log1p(-x) for t, x in zip(y, p)) / len(y)


def pointwise(name, note, users, labels, preds):
    users, labels = [int(x) for x in users], [int(x) for x in labels]
    preds = [float(x) for x in preds]
    assert (f32(preds) == preds).all() and all(0 <= p <= 1 for p in preds), name
    eps64 = float(np.finfo(np.float64).eps)
    cfg = {"metric_decimal_place": 17, "topk": KS}

    def auc(rows):
        pos, neg = [preds[r] for r in rows if labels[r]], [preds[r] for r in rows if not labels[r]]
        return auc_pairs(pos, neg) if pos and neg else None

    rows_of = {}
    for r, u in enumerate(users):
        rows_of.setdefault(u, []).append(r)
    per = {u: auc(rows) for u, rows in sorted(rows_of.items())}
    kept = {u: a for u, a in per.items() if a is not None}
    n_of = {u: len(rows_of[u]) for u in kept}
    p_of = {u: sum(labels[r] for r in rows_of[u]) for u in kept}
    weighted = lambda w: math.fsum(w[u] * a for u, a in kept.items()) / sum(w.values()) if kept else None
    out = {"name": name, "note": note, "users": users, "labels": labels, "predictions": preds,
           "global": {"auc": auc(range(len(users))), "logloss": logloss(labels, preds, 1e-7),
                      "logloss_eps64": logloss(labels, preds, eps64)},
           "gauc": weighted(n_of), "gauc_positives": weighted(p_of), "gauc_users": len(kept),
           "gauc_dropped": len(per) - len(kept), "user_auc": [[u, a] for u, a in per.items()]}

    y, p = np.array(labels), np.array(preds)
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    package = {"sklearn": {"logloss": float(log_loss(y, clipped, labels=[0, 1])),
                           "logloss_eps64": float(log_loss(y, p, labels=[0, 1]))},
               "recbole": {"logloss": float(rb.LogLoss(cfg).metric_info(clipped, y))}}
    if out["global"]["auc"] is not None:
        package["sklearn"]["auc"] = float(roc_auc_score(y, p))
        package["recbole"]["auc"] = float(rb.AUC(cfg).metric_info(p, y))
    for pkg, d in package.items():
        for m, v in d.items():
            same(m if m != "auc" else "auc (pointwise)", pkg, out["global"][m], v, f"{name}, {m}")
    if kept:
        sk = {u: float(roc_auc_score(y[rows_of[u]], p[rows_of[u]])) for u in kept}
        package["sklearn"]["gauc"] = float(np.average(list(sk.values()), weights=[n_of[u] for u in kept]))
        same("gauc", "sklearn", out["gauc"], package["sklearn"]["gauc"], name)
        rank_sum = {u: float(rankdata(-p[rows], method="average")[y[rows] == 1].sum()) for u, rows in rows_of.items()}
        us = sorted(rows_of)
        package["recbole"]["gauc_positives"] = float(rb.GAUC(cfg).metric_info(
            np.array([[rank_sum[u]] for u in us]), np.array([len(rows_of[u]) for u in us]),
            np.array([int(y[rows_of[u]].sum()) for u in us])))
        same("gauc_positives", "recbole", out["gauc_positives"], package["recbole"]["gauc_positives"], name)
    out["package"] = package
    return out


def pointwise_cases():
    out = []
    rng = rng_of("pointwise_random")
    u, p = rng.integers(0, 25, 300) * 7 + 3, f32(np.round(rng.random(300) * 4096) / 4096)
    out.append(pointwise("random", "user ids with gaps, rows in any order", u, rng.random(300) < 0.2 + 0.5 * p, p))
    rng = rng_of("pointwise_float32")
    u, p = rng.integers(0, 8, 80), f32(rng.random(80))
    out.append(pointwise("random_float32", "full float32 predictions", u, rng.random(80) < p, p))
    rng = rng_of("pointwise_ties")
    u, p = rng.integers(0, 12, 150), rng.integers(0, 4, 150) / 4 + 0.125
    out.append(pointwise("ties", "four levels", u, rng.random(150) < p, p))
    out.append(pointwise("all_equal", "auc one half", [1, 1, 2, 2, 2, 3], [0, 1, 1, 0, 0, 1], [0.25] * 6))
    rng = rng_of("pointwise_single_class")
    u = np.repeat(np.arange(10), 6)
    y = np.where(u % 3 == 0, 1, np.where(u % 3 == 1, 0, rng.integers(0, 2, 60)))
    out.append(pointwise("users_of_one_class", "two thirds of the users have a single class", u, y, rng.integers(0, 100, 60) / 128))
    out.append(pointwise("all_users_of_one_class", "gauc null, global auc defined", [0, 0, 1, 1, 1, 2], [1, 1, 0, 0, 0, 1],
                         [0.75, 0.5, 0.5, 0.25, 0.875, 0.125]))
    out.append(pointwise("only_positives", "auc null", [0, 1, 1, 2], [1, 1, 1, 1], [0.75, 0.5, 0.5, 0.0]))
    out.append(pointwise("only_negatives", "auc null", [0, 1, 1, 2], [0, 0, 0, 0], [0.75, 0.5, 0.5, 1.0]))
    e = f32([0.0, 1.0, 1e-8, 1e-7, 1.1e-7, DENORM, 1.0 - 2.0 ** -24, 1.0 - 2.0 ** -23, 0.5, 0.0, 1.0, -0.0])
    out.append(pointwise("extreme_predictions", "exact 0 and 1, right and wrong, and neighbours of the clip", list(range(4)) * 6,
                         [0] * 12 + [1] * 12, np.concatenate([e, e])))
    out.append(pointwise("one_row", "", [9], [1], [0.625]))
    rng = rng_of("pointwise_one_user")
    out.append(pointwise("one_user", "gauc equals auc", [5] * 30, rng.integers(0, 2, 30), rng.integers(0, 64, 30) / 64))
    return out


class Fixed:
    """A model for Cornac's evaluator that returns given predictions."""

    def __init__(self, table):
        self.table = table

    def rate(self, u, i):
        return np.float64(self.table[(int(u), int(i))])


def rating(name, note, users, items, ratings, preds):
    users, items = [int(x) for x in users], [int(x) for x in items]
    ratings, preds = [float(x) for x in ratings], [float(x) for x in preds]
    assert (f32(preds) == preds).all() and (f32(ratings) == ratings).all() and len(set(zip(users, items))) == len(users)
    err = [p - r for p, r in zip(preds, ratings)]
    rows_of = {}
    for r, u in enumerate(users):
        rows_of.setdefault(u, []).append(r)

    def both(rows):
        rows = list(rows)
        return {"rmse": math.sqrt(math.fsum(err[r] ** 2 for r in rows) / len(rows)),
                "mae": math.fsum(abs(err[r]) for r in rows) / len(rows)}

    per = {u: both(rows) for u, rows in sorted(rows_of.items())}
    out = {"name": name, "note": note, "users": users, "items": items, "ratings": ratings, "predictions": preds,
           "global": both(range(len(users))),
           "mean_user": {m: mean([v[m] for v in per.values()]) for m in ("rmse", "mae")},
           "per_user": [[u, v["rmse"], v["mae"]] for u, v in per.items()]}
    y, p = np.array(ratings), np.array(preds)
    cfg = {"metric_decimal_place": 17}
    uid, iid = {u: k for k, u in enumerate(dict.fromkeys(users))}, {i: k for k, i in enumerate(dict.fromkeys(items))}
    data = Dataset.build(list(zip(users, items, ratings)), global_uid_map=dict(uid), global_iid_map=dict(iid))
    model = Fixed({(uid[u], iid[i]): x for u, i, x in zip(users, items, preds)})
    cornac_global, _ = rating_eval(model, [CornacRMSE(), CornacMAE()], data, user_based=False)
    cornac_user, cornac_per = rating_eval(model, [CornacRMSE(), CornacMAE()], data, user_based=True)
    package = {
        "sklearn": {"rmse": float(np.sqrt(mean_squared_error(y, p))), "mae": float(mean_absolute_error(y, p)),
                    "rmse_user": float(np.mean([np.sqrt(mean_squared_error(y[r], p[r])) for r in rows_of.values()])),
                    "mae_user": float(np.mean([mean_absolute_error(y[r], p[r]) for r in rows_of.values()]))},
        "recbole": {"rmse": float(rb.RMSE(cfg).metric_info(p, y)), "mae": float(rb.MAE(cfg).metric_info(p, y))},
        "cornac": {"rmse": float(cornac_global[0]), "mae": float(cornac_global[1]),
                   "rmse_user": float(cornac_user[0]), "mae_user": float(cornac_user[1])},
    }
    for pkg, d in package.items():
        for key, v in d.items():
            m, _, user = key.partition("_")
            same(key, pkg, out["mean_user" if user else "global"][m], v, f"{name}, {key}")
    for k, m in enumerate(("rmse", "mae")):
        for u, v in per.items():
            same(f"{m}_user", "cornac", v[m], cornac_per[k][uid[u]], f"{name}, user {u}, {m}")
    out["package"] = package
    return out


def rating_cases():
    out = []
    rng = rng_of("rating_random")
    pairs = rng.choice(20 * 40, 200, replace=False)
    r = rng.integers(1, 6, 200)
    out.append(rating("random", "ratings 1-5", pairs // 40, pairs % 40, r, f32(np.round((r + rng.standard_normal(200)) * 1024) / 1024)))
    rng = rng_of("rating_float32")
    out.append(rating("random_float32", "half stars, full float32 predictions, very unequal users", [3] * 40 + [8] * 3 + [1, 11],
                      range(45), rng.integers(1, 11, 45) / 2, f32(rng.standard_normal(45) + 3)))
    out.append(rating("one_row_per_user", "rmse over users equals mae", [4, 2, 9, 7], [0, 1, 0, 2], [5, 3, 1, 4], [4.5, 3.25, 2, 4]))
    out.append(rating("perfect", "zero", [0, 0, 1], [0, 1, 0], [5, 3, 1], [5, 3, 1]))
    out.append(rating("one_user", "", [6] * 4, range(4), [1, 2, 3, 4], [1.5, 1.5, 3.5, 2]))
    out.append(rating("out_of_range", "predictions are not clipped to the scale; zero and negative ones", [0, 0, 1, 1, 2], range(5),
                      [5, 1, 3, 4, 2], [9.75, -3.5, 0, -0.0, 1000000]))
    return out


DEFINITIONS = {
    "sets": "M masked; C = all items (or set(candidates) + relevant) minus M; R = relevant minus M; gains are integers >= 1",
    "order": "C by score descending; among equal scores irrelevant first, then item id ascending; -0.0 = 0.0; L = first min(K,|C|)",
    "users": "users with empty R are null per user and left out of every average (users_without_relevant)",
    "hit": "1 if L meets R else 0", "recall": "hits/|R|", "recall_min": "hits/min(K,|R|)", "precision": "hits/K",
    "mrr": "1/rank of the first hit within K, else 0",
    "ndcg": "binary: sum over hits 1/log2(rank+1), over the sum for ranks 1..min(K,|R|)",
    "ndcg_exp": "gain 2^g-1; ideal: gains of R descending, first min(K,|R|)", "ndcg_lin": "gain g; ideal likewise",
    "map": "(sum over hits of precision at its rank)/|R|", "map_min": "the same sum/min(K,|R|)",
    "auc": "per user over C, ties one half, null if all of C is relevant; mean over the auc_users users with a value",
    "novelty": "per user: mean over L of -log2(max(popularity,1)/num_train_users)",
    "coverage": "distinct items in the lists of users with relevance / num_items",
    "gini": "exposure counts over all items ascending x_1..x_n: sum (2i-n-1)x_i/(n sum x_i); users with relevance",
    "all_users": "coverage, gini, novelty over every user with a non-empty C",
    "pointwise.auc": "all rows, ties one half; null with one class",
    "pointwise.logloss": "natural log, mean over rows, p clipped to [1e-7,1-1e-7] in float64",
    "pointwise.logloss_eps64": "clip 2.220446049250313e-16 (scikit-learn's default for float64)",
    "pointwise.gauc": "sum n_u auc_u/sum n_u, n_u rows of the user; users of one class dropped from both sums",
    "pointwise.gauc_positives": "weight: positive rows (RecBole's GAUC)",
    "rating.global": "rmse, mae over all rows", "rating.mean_user": "mean over users of the user's own rmse, mae",
}


def close(a, b, path="$"):
    """Whether two JSON values are equal up to 1e-12 in the floats; returns the first difference."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return next((d for k in a if (d := close(a[k], b[k], f"{path}.{k}"))), None)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return next((d for k, (x, y) in enumerate(zip(a, b)) if (d := close(x, y, f"{path}[{k}]"))), None)
    if isinstance(a, float) and isinstance(b, float):
        return None if a == b or abs(a - b) <= 1e-12 * max(1.0, abs(a)) else f"{path}: {a!r} != {b!r}"
    return None if a == b and type(a) is type(b) else f"{path}: {str(a)[:80]} != {str(b)[:80]}"


def main():
    data = {"cases": ranking_cases(), "pointwise": pointwise_cases(), "rating": rating_cases()}
    head = {
        "about": "written by metrics.py beside this file, which explains it; do not edit",
        "tolerance_of_the_check": TOL,
        "versions": {"numpy": np.__version__, "scikit-learn": sklearn.__version__, "ranx": version("ranx"),
                     "pytrec-eval-terrier": pytrec_eval.__version__, "recbole": recbole.__version__,
                     "cornac": cornac.__version__},
        "definitions": DEFINITIONS,
        "values_compared": {m: dict(sorted(d.items())) for m, d in sorted(COMPARED.items())},
    }
    dump = lambda x: json.dumps(x, separators=(",", ":"), allow_nan=False)
    lines = [f'"{k}":{dump(v)}' for k, v in head.items()]
    lines += [f'"{k}":[\n' + ",\n".join(map(dump, v)) + "\n]" for k, v in data.items()]
    text = "{" + ",\n".join(lines) + "}\n"
    json.loads(text)
    for (m, p), d in sorted(WORST.items()):
        print(f"{m:18} {p:26} {COMPARED[m][p]:6} values, largest difference {d:.1e}")
    if "--check" in sys.argv[1:]:
        with open(OUT, encoding="utf-8") as f:
            stored = json.load(f)
        diff = next((d for k in ("cases", "pointwise", "rating") if (d := close(json.loads(text)[k], stored[k], k))), None)
        print(diff or "metrics.json agrees")
        sys.exit(1 if diff else 0)
    tmp = OUT + ".part"
    with open(tmp, "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(tmp, OUT)
    print(f"{os.path.basename(OUT)}: {len(text)} bytes, " + ", ".join(f"{len(v)} {k}" for k, v in data.items()))


if __name__ == "__main__":
    main()
