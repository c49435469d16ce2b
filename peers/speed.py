"""Measures rec-bench and its peers side by side on the same rows, and writes results/speed.json and the README's speed table.

Usage: python speed.py BINARY [--readme README.md] [--results results] [--data REC_DATA_DIR]

Run it with an environment that has recbole and implicit (see README.md here), on a machine that does nothing else. Every figure is a
median over several repetitions in this one run; each comparison also prints the quality that both reached.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def last_json(text):
    """`text` as JSON, or its last line that is a JSON object."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--data", default=os.environ.get("REC_DATA_DIR", ""))
    args = parser.parse_args()
    binary = args.binary.resolve()
    environment = {**os.environ, **({"REC_DATA_DIR": args.data} if args.data else {})}
    work = Path(tempfile.mkdtemp())
    ours = lambda *words, **more: run(binary, *words, env={**environment, **more.pop("extra", {})}, **more)
    rows, single = [], {}

    def row(what, mine, peer, theirs, quality):
        rows.append({"what": what, "ours": mine, "peer": peer, "theirs": theirs, "ratio": theirs / mine, "quality": quality})
        print(f"{what}: {mine:.4f} s, {peer} {theirs:.4f} s, {theirs / mine:.1f} times", flush=True)

    # BPR: seconds of a training epoch, and of a full ranking of all test users, on exactly the same rows.
    table = HERE / "speed.toml"
    ours("data", "split", table, "--out", work / "splits")
    epochs = 5
    measured = {}
    for rows_moved in ("all", "touched"):
        out = work / f"bpr-{rows_moved}"
        ours("train", "--table", table, "--model", "bpr", "--out", out, "--no-board", "--set", f"loop.epochs={epochs}", "--set", "loop.eval_every=100",
             "--set", "selection.by=last", "--set", "loop.checkpoint_seconds=1000", "--set", f"optimizer.rows={rows_moved}")
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        epoch = statistics.median(line["train/seconds"] for line in lines if "train/seconds" in line)
        measured[rows_moved] = (epoch, last_json(ours("eval", out, "--repeat", "9", "--json")))
    evaluation = statistics.median(measured["all"][1]["seconds"])
    script = HERE / "recbole_split.py"
    trained = last_json(run(sys.executable, script, work / "splits", "ml-1m-speed-1", "--timing-epochs", epochs))
    ranked = last_json(run(sys.executable, script, work / "splits", "ml-1m-speed-1", "--eval-only-timing", "--topk", "10", "20"))
    large = last_json(run(sys.executable, script, work / "splits", "ml-1m-speed-1", "--eval-only-timing", "--topk", "10", "20", "--eval-batch", "4096000"))
    for rows_moved, name in (("all", "dense Adam, as RecBole's"), ("touched", "lazy Adam: only rows of the batch move")):
        epoch, evaluated = measured[rows_moved]
        quality = f"NDCG@10 after {epochs} epochs: {evaluated['metrics']['ndcg@10']:.4f}, RecBole {trained['test']['ndcg@10']:.4f}"
        row(f"BPR epoch, ML-1M, d = 64, batch 2048, {name}", epoch, "RecBole 1.2.1, dense Adam", trained["train_seconds_per_epoch"], quality)
    row("full ranking of ML-1M's 6,040 users, all metrics at 10 and 20, d = 64", evaluation, "RecBole 1.2.1, its default evaluation batch", ranked["eval_seconds"], "same definitions")
    row("the same", evaluation, "RecBole 1.2.1, evaluation batch of 4,096,000 scores", large["eval_seconds"], "same definitions")

    # Neural models at RecBole's sizes and settings, on the same rows; an epoch, and a full ranking of the test users.
    def neural(what, peer, epochs, *settings):
        out = work / peer
        words = [word for setting in settings for word in ("--set", setting)]
        ours("train", "--table", table, "--out", out, "--no-board", "--set", f"loop.epochs={epochs}", "--set", "loop.eval_every=100",
             "--set", "selection.by=last", "--set", "loop.checkpoint_seconds=1000", *words)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        epoch = statistics.median(line["train/seconds"] for line in lines if "train/seconds" in line)
        evaluated = last_json(ours("eval", out, "--repeat", "3", "--json"))
        trained = last_json(run(sys.executable, script, work / "splits", "ml-1m-speed-1", "--model", peer, "--timing-epochs", epochs, "--topk", "10", "20"))
        quality = f"NDCG@10 after {epochs} epochs: {evaluated['metrics']['ndcg@10']:.4f}, RecBole {trained['test']['ndcg@10']:.4f}"
        row(f"{what}, an epoch", epoch, "RecBole 1.2.1, dense Adam", trained["train_seconds_per_epoch"], quality)
        row(f"{what}, a full ranking", statistics.median(evaluated["seconds"]), "RecBole 1.2.1", trained["eval_seconds"], "same definitions")

    neural("CDAE, ML-1M, 64 units, batch 2048 users, all items as outputs, dense Adam", "CDAE", 5, "model.name=cdae", "model.embedding_size=64",
           "model.activation=relu", "model.l2=0", "batch.batch_size=2048", "batch.num_negatives=0")
    # RecBole's batch of 2,048 pairs is 1,024 positives with a negative each.
    neural("NeuMF, ML-1M, 64 + 64, layers 128 and 64, 1 negative, batch 2048 pairs, dense Adam", "NeuMF", 3, "model.name=neumf", "model.embedding_size=64",
           "model.mlp_embedding_size=64", "model.hidden_sizes=[128, 64]", "model.dropout=0.1", "batch.batch_size=1024", "batch.num_negatives=1")

    # AutoRec by item: a whole pass over the ratings, and a step of Rprop.
    out = work / "autorec"
    ours("train", "--table", "ml-1m-autorec", "--model", "i-autorec", "--out", out, "--no-board", "--set", "loop.epochs=9", "--set", "loop.eval_every=100",
         "--set", "selection.by=last", "--set", "loop.checkpoint_seconds=1000", "--set", 'optimizer.rule.name="rprop"', "--set", "batch.batch_size=100000")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    single["I-AutoRec epoch, ML-1M, 500 units, seconds"] = statistics.median(line["train/seconds"] for line in lines if "train/seconds" in line)
    print(single, flush=True)

    # iALS against implicit, on NCF's files.
    with_lists = work / "ncf.toml"
    with_lists.write_text('[protocol]\ndataset = "ncf-ml-1m"\nsplit = { kind = "published" }\ncandidates = { kind = "published" }\nmetrics = ["hit@10", "ndcg@10"]\n[selection]\nby = "last"\n')
    source = Path(args.data) / "ncf"
    if (source / "ml-1m.train.rating").exists():
        seconds, values = [], []
        for seed in range(1, 6):
            out = work / f"ials-{seed}"
            result = last_json(ours("train", "-c", with_lists, "--model", "ials", "--out", out, "--no-board", "--json", "--set", f"seed={seed}", "--set", "loop.epochs=12",
                                    "--set", 'model.solver={ name = "conjugate-gradient", steps = 3 }'))
            seconds.append(result["outcome"]["train_seconds"])
            values.append([value for _, value in result["metrics"]])
        pairs = [line.split("\t")[:2] for line in (source / "ml-1m.train.rating").read_text().splitlines()]
        (work / "train.tsv").write_text("".join(f"{user}\t{item}\n" for user, item in pairs))
        peer, theirs = [], []
        for seed in range(1, 6):
            found = last_json(run(sys.executable, HERE / "implicit_als.py", work / "train.tsv", "--seed", seed, "--ncf", source / "ml-1m.test.negative"))
            peer.append(found["fit_seconds"])
            ncf = found.get("ncf") or found
            theirs.append([ncf["hr@10"] if "hr@10" in ncf else ncf["hit@10"], ncf["ndcg@10"]])
        mean = lambda table, at: statistics.mean(line[at] for line in table)
        quality = f"HR@10 / NDCG@10: {mean(values, 0):.4f} / {mean(values, 1):.4f}, implicit {mean(theirs, 0):.4f} / {mean(theirs, 1):.4f} (means of 5 seeds)"
        row("iALS on ML-1M (NCF's files), d = 64, 12 epochs, conjugate gradients", statistics.median(seconds), "implicit 0.7.3, conjugate gradients", statistics.median(peer), quality)

    # Opening MovieLens-1M: parsing the source files, and mapping the cache.
    cache = work / "cache"
    fetched = Path(os.environ.get("REC_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rec") / "data" / "ml-1m"
    if fetched.exists():
        shutil.copytree(fetched, cache / "data" / "ml-1m")
        describe = lambda: json.loads(ours("data", "describe", "ml-1m", "--json", extra={"REC_CACHE_DIR": str(cache)}))["open_seconds"]
        single["ml-1m parse, seconds"] = describe()
        single["ml-1m reopen from cache, seconds"] = statistics.median(describe() for _ in range(5))
        print(single, flush=True)

    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.processor())
    found = {"rows": rows, "single": single, "hardware": f"{cpu}, {os.cpu_count()} threads", "versions": trained["versions"]}
    args.results.mkdir(exist_ok=True)
    (args.results / "speed.json").write_text(json.dumps(found, indent=2) + "\n")
    table = ["| what | ours | peer | peer's | times faster | quality |", "|---|---:|---|---:|---:|---|"]
    table += [f"| {r['what']} | {r['ours']:.3f} s | {r['peer']} | {r['theirs']:.3f} s | {r['ratio']:.1f} | {r['quality']} |" for r in rows]
    if single:
        table += ["", "; ".join(f"{name.split(',')[0]}: {1000 * value:.1f} ms" for name, value in single.items()) + "."]
    table += ["", f"Medians of one run of `peers/speed.py`, one after the other, on {found['hardware']}."]
    text = args.readme.read_text()
    before, _, rest = text.partition("<!-- speed -->")
    _, _, after = rest.partition("<!-- /speed -->")
    if rest:
        args.readme.write_text(f"{before}<!-- speed -->\n" + "\n".join(table) + f"\n<!-- /speed -->{after}")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
