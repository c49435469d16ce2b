"""Runs RecBole's models of clicks on the rows of a table, and prints AUC, LogLoss and seconds of an epoch.

Usage: python clicks.py FOLDER NAME MODEL [--epochs 20] [--threads 1] [--timing]

FOLDER/NAME holds what `rec-bench data split ml-1m-recbole-clicks --out FOLDER` writes. A row's label is whether its rating is at least 4.
With --timing two epochs are trained and nothing is tested. The last line of stdout is one JSON object.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

SHAPES = {
    "LR": {},
    "FM": {},
    "FFM": {"fields": None},
    "WideDeep": {"mlp_hidden_size": [32, 16, 8], "dropout_prob": 0.1},
    "DeepFM": {"mlp_hidden_size": [128, 128, 128], "dropout_prob": 0.2},
    "DCNV2": {"mlp_hidden_size": [768, 768], "cross_layer_num": 3, "mixed": False, "structure": "parallel", "dropout_prob": 0.2, "reg_weight": 0.0},
    "AutoInt": {"attention_size": 16, "n_layers": 3, "num_heads": 2, "dropout_probs": [0.2, 0.2, 0.2], "mlp_hidden_size": [128, 128]},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("model", choices=SHAPES)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timing", action="store_true")
    given = parser.parse_args()

    import torch

    torch.set_num_threads(given.threads)
    load = torch.load
    torch.load = lambda *a, **k: load(*a, **{**k, "weights_only": False})  # RecBole pickles its config
    import sys

    sys.argv = sys.argv[:1]
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / given.name
        own.mkdir()
        for part in ("train", "valid", "test"):
            rows = (given.folder / given.name / f"{given.name}.{part}.inter").read_text().splitlines()[1:]
            with (own / f"{given.name}.{part}.inter").open("w") as out:
                out.write("user_id:token\titem_id:token\tlabel:float\n")
                for row in rows:
                    user, item, rating = row.split("\t")[:3]
                    out.write(f"{user}\t{item}\t{int(float(rating) >= 4)}\n")
        for side in ("user", "item"):
            (own / f"{given.name}.{side}").write_text((given.folder / given.name / f"{given.name}.{side}").read_text())
        settings = dict(
            data_path=folder, checkpoint_dir=folder, show_progress=False, use_gpu=False, seed=given.seed, epochs=2 if given.timing else given.epochs,
            benchmark_filename=["train", "valid", "test"], LABEL_FIELD="label", load_col=None, embedding_size=10,
            train_batch_size=2048, eval_batch_size=2048 * 8, learning_rate=0.001, train_neg_sample_args=None, stopping_step=1,
            eval_args=dict(split={"LS": "valid_and_test"}, order="RO", group_by=None, mode="labeled"),
            metrics=["AUC", "LogLoss"], valid_metric="AUC", eval_step=1, normalize_all=True,
        )
        settings["data_path"] = folder
        os.chdir(folder)
        config = Config(model=given.model, dataset=given.name, config_dict={**settings, **{k: v for k, v in SHAPES[given.model].items() if v is not None}})
        init_seed(config["seed"], config["reproducibility"])
        train, valid, test = data_preparation(config, create_dataset(config))
        network = get_model(config["model"])(config, train._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
        seconds, epoch = [], trainer._train_epoch

        def timed(*a, **k):
            start = time.perf_counter()
            loss = epoch(*a, **k)
            seconds.append(time.perf_counter() - start)
            return loss

        trainer._train_epoch = timed
        out = {"model": given.model, "parameters": sum(p.numel() for p in network.parameters()), "threads": given.threads}
        if given.timing:
            trainer.fit(train, valid, saved=False, show_progress=False)
        else:
            trainer.fit(train, valid, saved=True, show_progress=False)
            tested = trainer.evaluate(test, load_best_model=True, show_progress=False)
            out |= {"auc": tested["auc"], "logloss": tested["logloss"]}
        os.chdir("/")
    out |= {"epochs": len(seconds), "seconds_per_epoch": sorted(seconds)[len(seconds) // 2], "seconds_per_epoch_min": min(seconds)}
    print(json.dumps(out))


if __name__ == "__main__":
    main()
