"""Measures SASRec and a GRU against RecBole on MovieLens-100K: seconds of an epoch, and seconds to RecBole's validation score.

Usage: python sequences.py BINARY [--data REC_DATA_DIR] [--epochs SASRec=1 GRU4Rec=2] [--results results]

Run it with an environment that has recbole (see README.md here), on a machine that does nothing else. Both sides hold out each user's
last two ratings and rank all items for the first of them, seen ones among them. RecBole makes a sample of each prefix, its last 50
items; ours learns from each position of a sequence at once, the last 200 of it. The last line of stdout is one JSON object, which is
also written to results/sequences.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

THREADS = 2
SHAPES = {
    # RecBole's defaults: 2 layers, 2 heads, 64 and 256 wide, dropout .5, cross-entropy over all items.
    "SASRec": ["model.name=sasrec", "model.embedding_size=64", "model.inner_size=256", "model.num_layers=2", "model.num_heads=2",
               "model.block=post-norm", "model.activation=gelu", "model.positions=from-start", "model.init_std=0.02", "model.dropout=0.5",
               'model.loss={ name = "cross-entropy" }', "model.max_len=200", "batch.batch_size=32"],
    # RecBole's GRU4Rec: vectors of 64, 128 units, a softmax over all items: SQN's network without its Q-values.
    "GRU4Rec": ["model.name=sqn", "model.q_weight=0", 'model.backbone={ name = "gru", embedding_size = 64, hidden_size = 128, dropout = 0.3 }',
                "model.max_len=200", "batch.batch_size=32"],
}


def recbole(model, epochs):
    """Trains in this process, and prints seconds and validation scores of each epoch."""
    import torch

    torch.set_num_threads(THREADS)
    load = torch.load
    torch.load = lambda *a, **k: load(*a, **{**k, "weights_only": False})  # RecBole pickles its config
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.argv = sys.argv[:1]
        settings = dict(epochs=epochs, show_progress=False, use_gpu=False, stopping_step=10**6, train_neg_sample_args=None, eval_step=1,
                        metrics=["NDCG", "MRR", "Hit"], topk=[10], valid_metric="NDCG@10", checkpoint_dir=folder)
        config = Config(model=model, dataset="ml-100k", config_dict=settings)
        init_seed(config["seed"], config["reproducibility"])
        train, valid, _ = data_preparation(config, create_dataset(config))
        network = get_model(model)(config, train._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
        seconds, scores = [], []
        epoch, judge = trainer._train_epoch, trainer._valid_epoch

        def timed(*a, **k):
            start = time.perf_counter()
            loss = epoch(*a, **k)
            seconds.append(time.perf_counter() - start)
            return loss

        def judged(*a, **k):
            score, values = judge(*a, **k)
            scores.append(values["ndcg@10"])
            return score, values

        trainer._train_epoch, trainer._valid_epoch = timed, judged
        trainer.fit(train, valid, saved=False, show_progress=False)
        os.chdir("/")
    print(json.dumps({"train_seconds": seconds, "valid_ndcg@10": scores, "samples": len(train._dataset)}))


def last_json(text):
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path, nargs="?")
    parser.add_argument("--data", default=os.environ.get("REC_DATA_DIR", ""))
    parser.add_argument("--epochs", nargs="+", default=["SASRec=1", "GRU4Rec=2"], metavar="MODEL=N", help="epochs that RecBole trains")
    parser.add_argument("--our-epochs", type=int, default=60)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--recbole", nargs=2, metavar=("MODEL", "EPOCHS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.recbole:
        return recbole(args.recbole[0], int(args.recbole[1]))
    environment = {**os.environ, **({"REC_DATA_DIR": args.data} if args.data else {})}

    def run(*command):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-3000:]}")
        return done.stdout

    found = []
    for asked in args.epochs:
        model, epochs = asked.split("=")
        theirs = last_json(run(sys.executable, Path(__file__).resolve(), "--recbole", model, epochs))
        with tempfile.TemporaryDirectory() as folder:
            words = [word for setting in SHAPES[model] for word in ("--set", setting)]
            run(args.binary.resolve(), "--threads", THREADS, "train", "--dataset", "ml-100k", "--out", Path(folder) / "run", "--no-board",
                "--set", 'protocol.split={ kind = "leave-last", test = 1, valid = 1 }', "--set", "protocol.mask=nothing",
                "--set", 'protocol.metrics=["ndcg@10"]', "--set", f"loop.epochs={args.our_epochs}", "--set", "loop.eval_every=1",
                "--set", 'loop.metric="ndcg@10"', "--set", "optimizer.learning_rate=0.001", *words)
            lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
        seconds = [line["train/seconds"] for line in lines if "train/seconds" in line]
        scores = [line["valid/ndcg@10"] for line in lines if "valid/ndcg@10" in line]
        wanted = max(theirs["valid_ndcg@10"])
        reached = next((at + 1 for at, score in enumerate(scores) if score >= wanted), None)
        ours = {"epoch_seconds": statistics.median(seconds), "valid_ndcg@10": scores, "epochs_to_theirs": reached,
                "seconds_to_theirs": sum(seconds[:reached]) if reached else None}
        peer = {"epoch_seconds": statistics.median(theirs["train_seconds"]), "seconds": sum(theirs["train_seconds"]), **theirs}
        found.append({"model": model, "ours": ours, "recbole": peer, "epoch_ratio": peer["epoch_seconds"] / ours["epoch_seconds"],
                      "time_ratio": peer["seconds"] / ours["seconds_to_theirs"] if reached else None})
        print(json.dumps(found[-1]), flush=True)
    args.results.mkdir(exist_ok=True)
    (args.results / "sequences.json").write_text(json.dumps({"threads": THREADS, "models": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
