"""Train one RecBole model on an exported split, on the CPU, and print its test metrics and timings as JSON.

The split is a folder DATA_DIR/NAME with NAME.train.inter, NAME.valid.inter and NAME.test.inter: RecBole's atomic files,
tab-separated, with a header that names at least `user_id:token` and `item_id:token`. RecBole splits and filters nothing
itself (`benchmark_filename`), so that it trains and is tested on exactly these rows. Only the two id columns are
loaded; `rating` and `timestamp` may be there and are ignored.

Settings are RecBole's defaults (overall.yaml): embedding 64, batch 2048, dense Adam at 1e-3, one uniform negative,
early stopping on MRR@10 of the validation rows, full ranking. A user's train items are masked in the validation list, train
and validation items in the test list.

Everything RecBole writes goes to a temporary folder that is removed at the end. Its log goes to stderr with --verbose.
The last line of stdout is one JSON object; README.md beside this file lists its keys.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

PARTS = ("train", "valid", "test")
METRICS = ["Recall", "MRR", "NDCG", "Hit", "Precision"]
# A name of our own inside the temporary folder: RecBole treats a dataset called "ml-100k" as the copy in its own wheel,
# and loads settings of its own for some other names.
ALIAS = "exported-split"


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("data_dir", type=Path, help="folder that holds the folder NAME")
    parser.add_argument("name", help="name of the split: its folder, and the start of its file names")
    parser.add_argument("--model", default="BPR", help="a general (non-sequential) RecBole model, by class name")
    parser.add_argument("--epochs", type=int, default=300, help="most epochs to train")
    parser.add_argument("--stopping-step", type=int, default=10, help="RecBole's patience, in validations")
    parser.add_argument("--seed", type=int, default=2020, help="seed of weights, shuffling and negatives")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of the BLAS")
    parser.add_argument("--batch", type=int, default=2048, help="training batch size")
    parser.add_argument("--eval-batch", type=int, default=4096, help="evaluation batch size, in scores, not users")
    parser.add_argument("--embedding-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--topk", type=int, nargs="+", default=[10])
    parser.add_argument("--valid-metric", default="MRR@10", help="metric of early stopping; its k must be in --topk")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="one more RecBole setting, such as --set reg_weight=250.0; repeatable",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--timing-epochs", type=int, metavar="K", help="train exactly K epochs with no validation, then evaluate once"
    )
    mode.add_argument(
        "--eval-only-timing", action="store_true", help="train one epoch, then time --eval-repeats test evaluations"
    )
    parser.add_argument("--eval-repeats", type=int, default=None, help="timed test evaluations [1, or 3 when only timing]")
    parser.add_argument("--verbose", action="store_true", help="RecBole's own log on stderr")
    args = parser.parse_args()

    if args.valid_metric.rpartition("@")[2] not in map(str, args.topk):
        parser.error(f"--valid-metric {args.valid_metric}: its cut-off is not in --topk {args.topk}")
    if args.eval_repeats is None:
        args.eval_repeats = 3 if args.eval_only_timing else 1
    for flag in ("epochs", "threads", "batch", "eval_batch", "eval_repeats", "timing_epochs"):
        if getattr(args, flag) is not None and getattr(args, flag) < 1:
            parser.error(f"--{flag.replace('_', '-')} must be at least 1")
    args.settings = {}
    for setting in args.set:
        key, equals, value = setting.partition("=")
        if not equals:
            parser.error(f"--set {setting}: expected KEY=JSON")
        try:
            args.settings[key] = json.loads(value)
        except json.JSONDecodeError:
            args.settings[key] = value
    return args, parser


def link_split(args, parser, folder):
    """Checks the three files' headers and links them into `folder` under ALIAS."""
    (folder / ALIAS).mkdir()
    for part in PARTS:
        path = (args.data_dir / args.name / f"{args.name}.{part}.inter").resolve()
        try:
            with open(path, encoding="utf-8") as file:
                header = file.readline().rstrip("\r\n").split("\t")
        except OSError as error:
            parser.error(f"cannot read {path}: {error.strerror}")
        missing = {"user_id:token", "item_id:token"} - set(header)
        if missing:
            parser.error(f"{path}, line 1: no column {' or '.join(sorted(missing))} among {header}")
        (folder / ALIAS / f"{ALIAS}.{part}.inter").symlink_to(path)


def timed(owner, name):
    """Wraps a method so that every call's seconds are appended to the list returned here."""
    method, seconds = getattr(owner, name), []

    def wrapper(*args, **kwargs):
        start = time.perf_counter()
        result = method(*args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return result

    setattr(owner, name, wrapper)
    return seconds


def recbole_config(args, folder):
    timing_only = args.timing_epochs or (1 if args.eval_only_timing else None)
    settings = dict(
        data_path=str(folder),
        benchmark_filename=list(PARTS),
        load_col={"inter": ["user_id", "item_id"]},
        eval_args={"mode": "full"},
        epochs=timing_only or args.epochs,
        stopping_step=args.stopping_step,
        train_batch_size=args.batch,
        eval_batch_size=args.eval_batch,
        embedding_size=args.embedding_size,
        learning_rate=args.learning_rate,
        metrics=METRICS,
        topk=sorted(set(args.topk)),
        valid_metric=args.valid_metric,
        seed=args.seed,
        reproducibility=True,
        use_gpu=False,
        worker=0,
        show_progress=False,
        checkpoint_dir=str(folder / "saved"),
    )
    settings.update(args.settings)
    return settings


def run(args, folder):
    import numpy
    import torch

    torch.set_num_threads(args.threads)
    # RecBole 1.2.1 pickles its configuration into its checkpoints; torch 2.6 and later refuse that by default.
    torch_load = torch.load
    torch.load = lambda *a, **k: torch_load(*a, **{**k, "weights_only": False})

    # Not recbole.quick_start: that one imports ray, which nothing here needs. The order of the calls below is its own.
    import recbole
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import ModelType, get_model, get_trainer, init_seed

    try:
        model_class = get_model(args.model)
    except (ValueError, ImportError) as error:  # for a name it does not know, RecBole goes on to import lightgbm
        sys.exit(f"recbole_split.py: no RecBole model {args.model}: {error}")
    if model_class.type not in (ModelType.GENERAL, ModelType.TRADITIONAL):
        sys.exit(f"recbole_split.py: {args.model} is not a general model: it needs more than users and items")
    trainer_class = get_trainer(model_class.type, args.model)

    started = time.perf_counter()
    config = Config(model=args.model, dataset=ALIAS, config_dict=recbole_config(args, folder))
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
    loaded = time.perf_counter()

    init_seed(config["seed"], config["reproducibility"])
    model = model_class(config, train_data._dataset).to(config["device"])
    constructed = time.perf_counter()
    trainer = trainer_class(config, model)

    train_seconds = timed(trainer, "_train_epoch")
    valid_seconds = timed(trainer, "_valid_epoch")
    timing_only = bool(args.timing_epochs or args.eval_only_timing)
    fitting = time.perf_counter()
    _, valid_best = trainer.fit(train_data, None if timing_only else valid_data, saved=True, show_progress=False)
    fitted = time.perf_counter()

    best = torch.load(trainer.saved_model_file, map_location="cpu")
    model.load_state_dict(best["state_dict"])
    model.load_other_parameter(best.get("other_parameter"))
    for metric in trainer.evaluator.metric_class.values():
        metric.decimal_place = 10  # rounded to 4 places up to here, as RecBole's early stopping sees them
    eval_seconds = timed(trainer, "evaluate")
    for _ in range(args.eval_repeats):
        test = trainer.evaluate(test_data, load_best_model=False, show_progress=False)
    trainer.tensorboard.close()
    finished = time.perf_counter()

    traditional = model_class.type == ModelType.TRADITIONAL

    def seconds(value):
        return round(value, 4)

    return {
        "model": args.model,
        "name": args.name,
        "seed": args.seed,
        "best_epoch": best["epoch"],
        "epochs_run": len(train_seconds),
        "test": {key: float(value) for key, value in test.items()},
        "valid_best": valid_best and {key: float(value) for key, value in valid_best.items()},
        "train_seconds_per_epoch": seconds(statistics.median(train_seconds)),
        "train_seconds_per_epoch_min": seconds(min(train_seconds)),
        "valid_seconds_per_epoch": seconds(statistics.median(valid_seconds)) if valid_seconds else None,
        "eval_seconds": seconds(statistics.median(eval_seconds)),
        "eval_seconds_min": seconds(min(eval_seconds)),
        "eval_seconds_all": [seconds(value) for value in eval_seconds],
        "load_seconds": seconds(loaded - started),
        "model_seconds": seconds(constructed - loaded),
        "fit_seconds": seconds(fitted - fitting),
        "total_seconds": seconds(finished - started),
        "users": train_data._dataset.user_num - 1,  # RecBole counts a padding id
        "items": train_data._dataset.item_num - 1,
        "rows": {part: len(data._dataset) for part, data in zip(PARTS, (train_data, valid_data, test_data))},
        "test_users": len(test_data.uid_list),
        "eval_users_per_batch": test_data.step,
        "batch": config["train_batch_size"],
        "optimizer": None if traditional else f"{type(trainer.optimizer).__name__}, dense, lr {config['learning_rate']}",
        "threads": torch.get_num_threads(),
        "versions": {
            "recbole": recbole.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
    }


def main():
    args, parser = parse_args()
    sys.argv = sys.argv[:1]  # RecBole reads settings from the command line, too
    logging.basicConfig(level=logging.INFO if args.verbose else logging.ERROR, stream=sys.stderr, format="%(message)s")
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(args.threads)  # read when numpy and torch are first imported
    args.data_dir = args.data_dir.resolve()
    home = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="recbole-split-", ignore_cleanup_errors=True) as folder:
        folder = Path(folder)
        link_split(args, parser, folder)
        os.chdir(folder)  # RecBole's TensorBoard writer uses a relative path that no setting changes
        try:
            result = run(args, folder)
        finally:
            os.chdir(home)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
