#!/usr/bin/env python3
"""Reads a log folder back with TensorBoard's own plugins, and fails unless each kind of data is there and consistent.

    pip install tensorboard
    python docs/tensorboard/check.py LOGDIR [--expect FILE] [--kinds scalars,text,...]

Every figure comes from the plugins that serve TensorBoard's pages, so what passes here is what the browser gets.

FILE is JSON: for each run (a folder below LOGDIR that holds event files; "." is LOGDIR itself), any of

    scalars     {tag: [[step, value], ...]}              these points, exactly (in single precision)
    histograms  {tag: {count, min, max}}                 of the last step
    text        {tag: the text as it was written}
    hparams     {name: value}
    metrics     {tag: value}                             as the table of hyper-parameters shows them
    pr_curves   {tag: {thresholds, positives, negatives}}
    embeddings  {name: {rows, width, columns, first}}    columns of the metadata, and its first line
"""

import argparse
import json
import math
import os
import sys

import numpy as np
from tensorboard.context import RequestContext
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.histogram.histograms_plugin import HistogramsPlugin
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.plugins.pr_curve.pr_curves_plugin import PrCurvesPlugin
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin
from tensorboard.plugins.text.text_plugin import TextPlugin
from werkzeug.test import Client

PLUGINS = {
    "scalars": ScalarsPlugin,
    "histograms": HistogramsPlugin,
    "text": TextPlugin,
    "hparams": HParamsPlugin,
    "pr_curves": PrCurvesPlugin,
    "projector": ProjectorPlugin,
}
CONTEXT = RequestContext()
EVERYTHING = 10**9


class Board:
    """What TensorBoard serves for a log folder, without a server."""

    def __init__(self, logdir):
        multiplexer = plugin_event_multiplexer.EventMultiplexer(
            size_guidance={"tensors": 0}, tensor_size_guidance={name: 0 for name in PLUGINS}
        )
        multiplexer.AddRunsFromDirectory(logdir)
        multiplexer.Reload()
        self.provider = data_provider.MultiplexerDataProvider(multiplexer, logdir)
        context = base_plugin.TBContext(
            data_provider=self.provider, logdir=logdir, sampling_hints={name: EVERYTHING for name in PLUGINS}
        )
        self.plugins = {name: plugin(context) for name, plugin in PLUGINS.items()}
        context.plugin_name_to_instance = self.plugins

    def get(self, plugin, route, body=None, **query):
        client = Client(self.plugins[plugin].get_plugin_apps()[route])
        if body is None:
            response = client.get("/", query_string=query)
        else:
            response = client.post("/", data=json.dumps(body), content_type="application/json")
        if response.status_code != 200:
            raise AssertionError(f"{plugin}{route} {query}: {response.status_code} {response.get_data(as_text=True)}")
        return response

    def tags(self, plugin):
        """[(run, tag)] in order."""
        return sorted((run, tag) for run, tags in self.get(plugin, "/tags").json.items() for tag in tags)


def close(a, b):
    a, b = float(a), float(b)
    return (math.isnan(a) and math.isnan(b)) or np.float32(a) == np.float32(b)


def ensure(condition, sentence):
    if not condition:
        raise AssertionError(sentence)


def check_steps(where, steps):
    ensure(len(steps) > 0, f"{where}: no points")
    ensure(all(a < b for a, b in zip(steps, steps[1:])), f"{where}: steps do not increase: {steps[:20]}")


def check_scalars(board, expect):
    tags = board.tags("scalars")
    for run, tag in tags:
        points = [(step, value) for _, step, value in board.get("scalars", "/scalars", run=run, tag=tag).json]
        check_steps(f"scalar {run} {tag}", [step for step, _ in points])
        found = dict(points)
        for step, value in expect.get(run, {}).get("scalars", {}).get(tag, []):
            ensure(step in found, f"scalar {run} {tag}: nothing at step {step}")
            ensure(close(found[step], value), f"scalar {run} {tag} at {step}: {found[step]}, expected {value}")
    return tags


def check_histograms(board, expect):
    tags = board.tags("histograms")
    for run, tag in tags:
        where = f"histogram {run} {tag}"
        points = board.get("histograms", "/histograms", run=run, tag=tag).json
        check_steps(where, [step for _, step, _ in points])
        for _, step, buckets in points:
            left, right, count = (np.array(column) for column in zip(*buckets))
            ensure((left <= right).all() and (left[1:] == right[:-1]).all(), f"{where} at {step}: buckets do not join")
            ensure((count >= 0).all() and count.sum() > 0, f"{where} at {step}: bad counts")
        wanted = expect.get(run, {}).get("histograms", {}).get(tag)
        if wanted:
            got = {"count": count.sum(), "min": left[0], "max": right[-1]}
            for key, value in wanted.items():
                ensure(close(got[key], value), f"{where}: {key} is {got[key]}, expected {value}")
    return tags


def check_text(board, expect):
    tags = board.tags("text")
    series = board.provider.read_tensors(CONTEXT, experiment_id="", plugin_name="text", downsample=EVERYTHING)
    for run, tag in tags:
        where = f"text {run} {tag}"
        texts = [point.numpy.item().decode() for point in series[run][tag]]
        pages = board.get("text", "/text", run=run, tag=tag).json
        ensure(texts and len(texts) == len(pages) and all(page["text"] for page in pages), f"{where}: empty")
        wanted = expect.get(run, {}).get("text", {}).get(tag)
        ensure(wanted is None or wanted in texts, f"{where}: is {texts}, expected {wanted!r}")
    return tags


def check_hparams(board, expect):
    experiment = board.get("hparams", "/experiment", body={"experimentName": "", "hparamsLimit": 0}).json
    columns = {info["name"] for info in experiment.get("hparamInfos", [])}
    ensure(columns, "hparams: the table has no columns")
    body = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "startIndex": 0,
        "sliceSize": EVERYTHING,
        "colParams": [{"hparam": name} for name in sorted(columns)],
    }
    groups = board.get("hparams", "/session_groups", body=body).json.get("sessionGroups", [])
    sessions = []
    for group in groups:
        for session in group["sessions"]:
            run = session["name"]
            hint = "; TensorBoard finds none by itself for the opened folder's own event file: open the folder above it" if run == "." else ""
            ensure(session.get("metricValues"), f"hparams {run}: no metrics{hint}")
            ensure(session.get("startTimeSecs", 0) > 0, f"hparams {run}: no start time")
            for name, value in expect.get(run, {}).get("hparams", {}).items():
                ensure(name in columns, f"hparams {run}: no column {name}, only {sorted(columns)}")
                got = group["hparams"].get(name)
                ensure(got == value and isinstance(got, bool) == isinstance(value, bool), f"hparams {run}: {name} is {got!r}, expected {value!r}")
            metrics = {metric["name"]["tag"]: metric["value"] for metric in session.get("metricValues", [])}
            for tag, value in expect.get(run, {}).get("metrics", {}).items():
                ensure(tag in metrics, f"hparams {run}: no metric {tag}, only {sorted(metrics)}")
                ensure(close(metrics[tag], value), f"hparams {run}: {tag} is {metrics[tag]}, expected {value}")
            sessions.append((run, f"{len(group['hparams'])} values, {len(metrics)} metrics, {session.get('status')}"))
    return sorted(sessions)


def check_pr_curves(board, expect):
    tags = board.tags("pr_curves")
    series = board.provider.read_tensors(CONTEXT, experiment_id="", plugin_name="pr_curves", downsample=EVERYTHING)
    for run, tag in tags:
        where = f"PR curve {run} {tag}"
        points = board.get("pr_curves", "/pr_curves", run=run, tag=tag).json[run]
        check_steps(where, [point["step"] for point in points])
        for point in series[run][tag]:
            ensure(point.numpy.ndim == 2 and len(point.numpy) == 6, f"{where}: the tensor is {point.numpy.shape}")
            tp, fp, tn, fn, precision, recall = point.numpy.astype(float)
            for name, counts in (("positives", tp + fn), ("negatives", fp + tn)):
                ensure(np.allclose(counts, counts[0]), f"{where}: the number of {name} changes with the threshold")
            ensure((np.diff(tp) <= 0).all() and (np.diff(fp) <= 0).all(), f"{where}: counts grow with the threshold")
            ensure(np.allclose(precision, tp / np.maximum(1e-7, tp + fp)), f"{where}: wrong precision")
            ensure(np.allclose(recall, tp / np.maximum(1e-7, tp + fn)), f"{where}: wrong recall")
        got = {"thresholds": len(tp), "positives": tp[0] + fn[0], "negatives": fp[0] + tn[0]}
        for key, value in expect.get(run, {}).get("pr_curves", {}).get(tag, {}).items():
            ensure(close(got[key], value), f"{where}: {key} is {got[key]}, expected {value}")
    return tags


def check_projector(board, expect):
    found = []
    for run in board.get("projector", "/runs").json:
        for embedding in board.get("projector", "/info", run=run).json.get("embeddings", []):
            name = embedding["tensorName"]
            where = f"embedding {run} {name}"
            rows, width = (int(size) for size in embedding["tensorShape"])
            tensor = np.frombuffer(board.get("projector", "/tensor", run=run, name=name).get_data(), dtype=np.float32)
            ensure(tensor.size == rows * width > 0, f"{where}: {tensor.size} numbers for {rows} × {width}")
            ensure(np.isfinite(tensor).all(), f"{where}: not finite")
            got = {"rows": rows, "width": width}
            if embedding.get("metadataPath"):
                lines = board.get("projector", "/metadata", run=run, name=name).get_data(as_text=True).split("\n")
                ensure(lines.pop() == "" and all(line.strip() for line in lines), f"{where}: an empty line of metadata")
                cells = [line.split("\t") for line in lines]
                ensure(len({len(line) for line in cells}) == 1, f"{where}: lines of metadata of different lengths")
                got["columns"] = cells.pop(0) if len(cells[0]) > 1 else None
                got["first"] = cells[0]
                ensure(len(cells) == rows, f"{where}: {len(cells)} lines of metadata for {rows} vectors")
            for key, value in expect.get(run, {}).get("embeddings", {}).get(name, {}).items():
                ensure(got.get(key) == value, f"{where}: {key} is {got.get(key)!r}, expected {value!r}")
            found.append((run, f"{name} {rows} × {width}"))
    return found


CHECKS = {
    "scalars": check_scalars,
    "histograms": check_histograms,
    "text": check_text,
    "hparams": check_hparams,
    "pr_curves": check_pr_curves,
    "projector": check_projector,
}


def missing(kind, found, expect):
    """What FILE expects and the folder has not."""
    have = {run: {name for r, name in found if r == run} for run, _ in found}
    key = "embeddings" if kind == "projector" else kind
    for run, kinds in expect.items():
        if key in kinds and run not in have:
            yield f"run {run} has no {kind}"
        if key in ("scalars", "histograms", "text", "pr_curves", "embeddings"):
            for name in kinds.get(key, {}):
                if not any(entry.split(" ")[0] == name if key == "embeddings" else entry == name for entry in have.get(run, ())):
                    yield f"run {run} has no {kind} {name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logdir", metavar="LOGDIR")
    parser.add_argument("--expect", metavar="FILE", help="what must be there, as JSON")
    parser.add_argument("--kinds", default=",".join(CHECKS), help="which kinds must be there (default: all: %(default)s)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.kinds.split(",")) - set(CHECKS))
    if unknown:
        parser.error(f"unknown kind {', '.join(unknown)}")
    expect = {}
    if arguments.expect:
        with open(arguments.expect, encoding="utf-8") as file:
            expect = json.load(file)
    board = Board(os.path.abspath(arguments.logdir))
    failures = 0
    for kind in arguments.kinds.split(","):
        try:
            found = CHECKS[kind](board, expect)
            ensure(found, f"{kind}: nothing in {arguments.logdir}")
            for sentence in missing(kind, found, expect):
                raise AssertionError(sentence)
            print(f"ok      {kind}: {len(found)}")
            for run, name in found:
                print(f"          {run}  {name}")
        except AssertionError as error:
            failures += 1
            print(f"FAILED  {error}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
