"""Fit implicit's AlternatingLeastSquares on the CPU and print its fit time and, if asked, its quality, as JSON.

TRAIN.tsv holds one `user<TAB>item` pair of integers a line, no header; further columns are ignored and repeated pairs
count once, with confidence 1 (times --alpha). The same format serves --test and --mask.

Quality is printed beside the time so that equal quality can be shown before times are compared:
  --test   full ranking over all items, the user's train (and --mask) items excluded: NDCG@10, Recall@10, Hit@10,
           averaged over the users with test rows. Recall divides by all of a user's test items; the ideal DCG has
           min(k, test items) terms.
  --ncf    NCF's candidate file, `(user,item)<TAB>negative...` a line: HR@10 and NDCG@10 of the item among itself and the
           negatives. Candidates are a set: repeats, and negatives equal to the item, are dropped. A negative with the same
           score counts as ranked above.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("train", help="user<TAB>item pairs to fit")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--alpha", type=float, default=4.3333, help="confidence of an observed pair (others have 1)")
    parser.add_argument("--regularization", type=float, default=48.0, help="the same for every user and item")
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2, help="implicit's own threads; its BLAS runs with one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cholesky", action="store_true", help="exact solver in place of 3 conjugate-gradient steps")
    parser.add_argument("--repeat", type=int, default=1, help="fits, each from the same seed; the last one is tested")
    parser.add_argument("--test", help="user<TAB>item pairs to find")
    parser.add_argument("--mask", help="user<TAB>item pairs, such as validation rows, to exclude from the ranking as well")
    parser.add_argument("--ncf", help="NCF's file of fixed negatives")
    parser.add_argument("--topk", type=int, nargs="+", default=[10])
    parser.add_argument("--users", type=int, help="number of users [largest id + 1]")
    parser.add_argument("--items", type=int, help="number of items [largest id + 1]")
    args = parser.parse_args()
    if args.threads < 1 or args.repeat < 1 or args.iterations < 1 or min(args.topk) < 1:
        parser.error("--threads, --repeat, --iterations and --topk must be at least 1")
    return args


def read_pairs(np, path):
    """The distinct pairs of a file as an array of shape [pairs, 2], sorted, and the number of rows read."""
    import pandas

    try:
        frame = pandas.read_csv(path, sep="\t", header=None, usecols=[0, 1], dtype=np.int64)
    except (OSError, ValueError) as error:
        sys.exit(f"implicit_als.py: {path}: {error}")
    pairs = frame.to_numpy()
    if len(pairs) and pairs.min() < 0:
        sys.exit(f"implicit_als.py: {path}: negative id in row {int((pairs < 0).any(axis=1).argmax()) + 1}")
    return np.unique(pairs, axis=0), len(pairs)


def read_ncf(path):
    """(user, item, negatives as a set without the item) of each line, and the number of candidates dropped."""
    cases, dropped = [], 0
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                target, *negatives = line.split("\t")
                user, item = map(int, target.strip().strip("()").split(","))
                distinct = set(map(int, negatives)) - {item}
            except ValueError as error:
                sys.exit(f"implicit_als.py: {path}, line {number}: {error}")
            dropped += len(negatives) - len(distinct)
            cases.append((user, item, sorted(distinct)))
    return cases, dropped


def rank_all(np, model, train, masked, test, cutoffs, block=512):
    """Metrics of the full ranking, averaged over the users with rows in `test`, a CSR matrix as the other two are."""
    users = np.flatnonzero(np.diff(test.indptr))
    largest = min(max(cutoffs), test.shape[1])
    discounts = 1.0 / np.log2(np.arange(2, largest + 2))
    sums = {f"{metric}@{k}": 0.0 for k in cutoffs for metric in ("ndcg", "recall", "hit")}
    for start in range(0, len(users), block):
        some = users[start : start + block]
        scores = model.user_factors[some] @ model.item_factors.T
        for hidden in (train, masked):
            if hidden is not None:
                rows, columns = hidden[some].nonzero()
                scores[rows, columns] = -np.inf
        top = np.argpartition(-scores, largest - 1, axis=1)[:, :largest]
        order = np.lexsort((top, -np.take_along_axis(scores, top, axis=1)))
        top = np.take_along_axis(top, order, axis=1)
        wanted = np.zeros(scores.shape, dtype=bool)
        wanted[test[some].nonzero()] = True
        found = np.take_along_axis(wanted, top, axis=1)
        relevant = np.diff(test.indptr)[some]
        for k in cutoffs:
            hits = found[:, :k]
            ideal = np.cumsum(discounts)[np.minimum(relevant, min(k, largest)) - 1]
            sums[f"ndcg@{k}"] += float(((hits * discounts[: hits.shape[1]]).sum(axis=1) / ideal).sum())
            sums[f"recall@{k}"] += float((hits.sum(axis=1) / relevant).sum())
            sums[f"hit@{k}"] += float(hits.any(axis=1).sum())
    return {key: round(value / len(users), 6) for key, value in sums.items()}, len(users)


def rank_ncf(np, model, cases, cutoffs):
    """HR and NDCG of one item among its negatives, averaged over `cases`; a tie counts against the item."""
    sums = {f"{metric}@{k}": 0.0 for k in cutoffs for metric in ("hr", "ndcg")}
    for user, item, negatives in cases:
        # One product for item and negatives, so that equal factors have bit-equal scores.
        scores = model.item_factors[[item, *negatives]] @ model.user_factors[user]
        rank = int((scores[1:] >= scores[0]).sum())
        for k in cutoffs:
            if rank < k:
                sums[f"hr@{k}"] += 1.0
                sums[f"ndcg@{k}"] += 1.0 / np.log2(rank + 2)
    return {key: round(float(value) / len(cases), 6) for key, value in sums.items()}


def main():
    args = parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # implicit recommends it: its own threads call the BLAS

    import implicit
    import numpy as np
    import scipy
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    started = time.perf_counter()
    pairs, rows = read_pairs(np, args.train)
    test_pairs, _ = read_pairs(np, args.test) if args.test else (np.empty((0, 2), np.int64), 0)
    mask_pairs, _ = read_pairs(np, args.mask) if args.mask else (np.empty((0, 2), np.int64), 0)
    cases, dropped = read_ncf(args.ncf) if args.ncf else ([], 0)
    extra = [(user, max([item, *negatives])) for user, item, negatives in cases]
    every = np.concatenate([pairs, test_pairs, mask_pairs, np.array(extra, np.int64).reshape(-1, 2)])
    shape = tuple(int(largest) + 1 for largest in every.max(axis=0))
    shape = (max(args.users or 0, shape[0]), max(args.items or 0, shape[1]))

    def matrix(some):
        return csr_matrix((np.ones(len(some), np.float32), (some[:, 0], some[:, 1])), shape=shape)

    train, test = matrix(pairs), matrix(test_pairs)
    loaded = time.perf_counter()

    fit_seconds, iteration_seconds = [], []
    with threadpool_limits(1, "blas"):
        for _ in range(args.repeat):
            model = AlternatingLeastSquares(
                factors=args.factors,
                alpha=args.alpha,
                regularization=args.regularization,
                iterations=args.iterations,
                use_cg=not args.cholesky,
                num_threads=args.threads,
                random_state=args.seed,
            )
            start = time.perf_counter()
            model.fit(train, show_progress=False, callback=lambda _, seconds, __: iteration_seconds.append(seconds))
            fit_seconds.append(time.perf_counter() - start)

    quality = {}
    ranked = time.perf_counter()
    if args.test:
        quality["test"], quality["test_users"] = rank_all(
            np, model, train, matrix(mask_pairs) if args.mask else None, test, args.topk
        )
        quality["test_rows_in_train"] = int(train.multiply(test).nnz)
        quality["rank_seconds"] = round(time.perf_counter() - ranked, 4)
    if args.ncf:
        quality["ncf"] = rank_ncf(np, model, cases, args.topk)
        quality["ncf_users"] = len(cases)
        quality["ncf_candidates_dropped"] = dropped

    print(
        json.dumps(
            {
                "model": "implicit ALS",
                "solver": "cholesky" if args.cholesky else f"conjugate gradient, {model.cg_steps} steps",
                "factors": args.factors,
                "alpha": args.alpha,
                "regularization": args.regularization,
                "iterations": args.iterations,
                "seed": args.seed,
                "threads": args.threads,
                "users": shape[0],
                "items": shape[1],
                "rows": rows,
                "pairs": len(pairs),
                "load_seconds": round(loaded - started, 4),
                "fit_seconds": round(statistics.median(fit_seconds), 4),
                "fit_seconds_min": round(min(fit_seconds), 4),
                "fit_seconds_all": [round(value, 4) for value in fit_seconds],
                "iteration_seconds": round(statistics.median(iteration_seconds), 4),
                **quality,
                "versions": {
                    "implicit": implicit.__version__,
                    "numpy": np.__version__,
                    "scipy": scipy.__version__,
                    "python": platform.python_version(),
                },
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
