"""Train gensim's Word2Vec on the histories of an exported split and print words per second and the quality of its item vectors, as JSON.

FOLDER/NAME holds NAME.train.inter, NAME.valid.inter, NAME.test.inter and, for the purity by genre, NAME.item, as `rec-bench data split`
writes them. A user's history is their training items by time, equal times in the order of the file. With --vectors nothing is trained: the
vectors of that file (item<TAB>number<TAB>number... a line) are judged by the same rules.

Quality:
  recall@20, ndcg@20  full ranking of all items for the test rows, the user's train and valid items excluded: cosine of an item's vector
                      and the mean of the vectors of those train and valid items, each once
  purity              share of the 10 nearest others by cosine that have a genre in common with an item, over the items with a training
                      row and a genre, and over the half of them with more training rows and the other half
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
import pandas


def read(folder, name, part):
    frame = pandas.read_csv(folder / name / f"{name}.{part}.inter", sep="\t", dtype={"user_id:token": str, "item_id:token": str})
    frame.columns = [column.split(":")[0] for column in frame.columns]
    return frame


def train(histories, args):
    """The item vectors that gensim learns, by raw id, with the seconds of wall and processor that its training alone took."""
    from gensim.models import Word2Vec

    model = Word2Vec(vector_size=args.embedding_size, window=args.window, min_count=1, workers=args.workers, sg=int(args.method == "skip-gram"),
                     hs=0, negative=args.negatives, ns_exponent=0.75, cbow_mean=1, sample=args.sample, alpha=args.learning_rate,
                     min_alpha=args.min_learning_rate, epochs=args.epochs, seed=args.seed, max_vocab_size=None, sorted_vocab=1)
    model.build_vocab(histories)
    wall, used = time.perf_counter(), time.process_time()
    model.train(histories, total_examples=model.corpus_count, epochs=args.epochs)
    wall, used = time.perf_counter() - wall, time.process_time() - used
    return dict(zip(model.wv.index_to_key, model.wv.vectors)), wall, used


def ranking(vectors, units, known, wanted, cutoff=20, block=256):
    """recall@cutoff and ndcg@cutoff, means over the users with test rows."""
    discounts = 1.0 / np.log2(np.arange(2, cutoff + 2))
    users, recall, ndcg = sorted(wanted), 0.0, 0.0
    for start in range(0, len(users), block):
        some = users[start : start + block]
        means = np.stack([vectors[sorted(known.get(user, ()))].sum(axis=0) for user in some])
        scores = means @ units.T
        for row, user in enumerate(some):
            scores[row, sorted(known.get(user, ()))] = -np.inf
        top = np.argsort(-scores, axis=1, kind="stable")[:, :cutoff]
        for row, user in enumerate(some):
            hits = np.isin(top[row], sorted(wanted[user]))
            recall += hits.sum() / len(wanted[user])
            ndcg += (hits * discounts).sum() / discounts[: len(wanted[user])].sum()
    return {f"recall@{cutoff}": recall / len(users), f"ndcg@{cutoff}": ndcg / len(users)}


def purity(units, rows, genres, neighbours=10):
    """Neighbour purity by genre: of all items, the popular half, the rare half."""
    items = [item for item in np.argsort(-rows, kind="stable") if rows[item] > 0 and genres[item]]
    cosines = units[items] @ units[items].T
    np.fill_diagonal(cosines, -np.inf)
    near = np.argsort(-cosines, axis=1, kind="stable")[:, :neighbours]
    shares = np.array([np.mean([bool(genres[item] & genres[items[other]]) for other in near[at]]) for at, item in enumerate(items)])
    half = (len(items) + 1) // 2
    return {"purity": shares.mean(), "purity_popular": shares[:half].mean(), "purity_rare": shares[half:].mean()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--vectors", type=Path, help="judge these vectors instead of training")
    parser.add_argument("--method", choices=["skip-gram", "cbow"], default="skip-gram")
    parser.add_argument("--embedding-size", type=int, default=64)
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--negatives", type=int, default=5)
    parser.add_argument("--sample", type=float, default=0.001)
    parser.add_argument("--learning-rate", type=float, default=0.025)
    parser.add_argument("--min-learning-rate", type=float, default=0.0001)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    parts = {part: read(args.folder, args.name, part) for part in ("train", "valid", "test")}
    ids = pandas.unique(pandas.concat([frame["item_id"] for frame in parts.values()]))
    number = {item: at for at, item in enumerate(ids)}
    ordered = parts["train"].sort_values("timestamp", kind="stable") if "timestamp" in parts["train"] else parts["train"]
    histories = [list(items) for _, items in ordered.groupby("user_id", sort=False)["item_id"]]
    found = {"words": sum(map(len, histories))}
    if args.vectors:
        lines = (line.split("\t") for line in args.vectors.read_text().splitlines())
        learned = {item: np.array(numbers, dtype=np.float32) for item, *numbers in lines}
    else:
        import gensim

        learned, wall, used = train(histories, args)
        words = found["words"] * args.epochs
        found |= {"seconds": wall, "processor_seconds": used, "words_per_second": words / wall, "words_per_processor_second": words / used,
                  "workers": args.workers, "gensim": gensim.__version__, "python": platform.python_version()}
    size = len(next(iter(learned.values())))
    # An item that is in no training row has the vector 0.
    vectors = np.stack([learned.get(item, np.zeros(size, np.float32)) for item in ids])
    rows = np.bincount([number[item] for item in parts["train"]["item_id"]], minlength=len(ids))
    vectors[rows == 0] = 0
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    by_user = lambda frame: {user: {number[item] for item in items} for user, items in frame.groupby("user_id")["item_id"]}
    found |= ranking(vectors, units, by_user(pandas.concat([parts["train"], parts["valid"]])), by_user(parts["test"]))
    file = args.folder / args.name / f"{args.name}.item"
    if file.exists():
        features = pandas.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
        column = next((column for column in features.columns if column.split(":")[0] in ("genre", "genres")), None)
        if column:
            named = dict(zip(features["item_id:token"], features[column]))
            found |= purity(units, rows, [frozenset(named.get(item, "").split()) for item in ids])
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
