"""Reference values of the models of labels: PyTorch in float64, pair by pair as the formulas say, gradients by its autograd.

    python models.py     # needs torch; writes models.json beside itself
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
# user, item, genres (several), time (a number): each field's first feature and how many it has.
SIZES = [5, 6, 5, 3]
FIRST = [sum(SIZES[:at]) for at in range(len(SIZES))]
FEATURES = sum(SIZES)
# Each row's features and their values, field by field.
ROWS = [
    [[(2, 1.0)], [(7, 1.0)], [(13, 0.5), (14, 0.5)], [(18, 0.25)]],
    [[(3, 1.0)], [(8, 1.0)], [(13, 1.0)], [(18, 0.75)]],
    [[(2, 1.0)], [(5, 1.0)], [(12, 1.0)], [(17, 1.0)]],
    [[(4, 1.0)], [(10, 1.0)], [(13, 1 / 4), (14, 1 / 4), (15, 1 / 2)], [(18, 1.0)]],
    [[(0, 1.0)], [(7, 1.0)], [(15, 1.0)], [(18, -0.5)]],
]
LABELS = [1.0, 0.0, 0.0, 1.0, 1.0]
# How long each row was watched: a positive row's weight in the YouTube ranker's loss. The third one was too short to be a positive.
WATCHED = [12.5, 0.0, 0.25, 3.0, 0.5]
N = len(SIZES)
# Past items of each row and how many days ago they were, for the models that look at them; at most MAX_LEN.
HISTORIES = [[], [(7, 3.5), (8, 0.01)], [(5, 40.0)], [(7, 2.0), (8, 1.0), (10, 0.5)], [(9, 0.2), (7, 0.0)]]
MAX_LEN = 3
ITEM = 1


def vectors(table):
    """[B, F, size]"""
    row = lambda fields: torch.stack([sum(value * table[feature] for feature, value in field) for field in fields])
    return torch.stack([row(fields) for fields in ROWS])


def tower(name, inputs, sizes):
    shapes = {}
    for at, (size, following) in enumerate(zip([inputs, *sizes], sizes), 1):
        shapes |= {f"{name}_{at}_weights": (following, size), f"{name}_{at}_bias": (following,)}
    last = sizes[-1] if sizes else inputs
    return shapes, {f"{name}_output_weights": (1, last), f"{name}_output_bias": (1,)}


def shapes(model, c):
    d = c.get("embedding_size", 0)
    first_order = {"first_order": (FEATURES, 1), "bias": (1,)}
    deep, output = tower("deep", N * d, c.get("hidden_sizes", []))
    if model == "lr":
        return first_order
    if model == "fm":
        return first_order | {"vectors": (FEATURES, d)}
    if model == "fwfm":
        return first_order | {"vectors": (FEATURES, d), "strengths": (N, N)}
    if model == "ffm":
        return first_order | {"vectors": (FEATURES, N * d)}
    if model == "youtube-ranker":
        return {"vectors": (FEATURES, d)} | deep | output
    if model in ("wide-deep", "deepfm"):
        return first_order | {"vectors": (FEATURES, d)} | deep | output
    if model == "dcn":
        size, last = N * d, (c["hidden_sizes"] or [0])[-1]
        cross = {}
        for at in range(1, c["num_layers"] + 1):
            cross |= {f"cross_{at}_weights": (size, size), f"cross_{at}_bias": (size,)}
        seen = size + last if c["structure"] == "parallel" else (last or size)
        return {"vectors": (FEATURES, d)} | cross | deep | {"output_weights": (1, seen), "output_bias": (1,)}
    if model == "din":
        layers = lambda name, inputs, sizes: tower(name, inputs, sizes)[0] | {
            f"{name}_{at}_slope": (size,) for at, size in enumerate(sizes, 1)
        } | tower(name, inputs, sizes)[1]
        attention = layers("attention_1", 4 * d, c["attention_sizes"])
        return {"vectors": (FEATURES, d)} | attention | layers("deep", (N + 1) * d, c["hidden_sizes"])
    if model == "bst":
        block, size = {}, 2 * d
        for at in range(1, c["num_layers"] + 1):
            name = f"sequence_1_block_{at}"
            for kind, outputs in [("queries", size), ("keys_values", 2 * size), ("heads", size), ("inner", size), ("outer", size)]:
                block |= {f"{name}_{kind}_weights": (outputs, size), f"{name}_{kind}_bias": (outputs,)}
            for half in (1, 2):
                block |= {f"{name}_norm_{half}_scale": (size,), f"{name}_norm_{half}_shift": (size,)}
        deep, output = tower("deep", N * d + (MAX_LEN + 1) * size, c["hidden_sizes"])
        return {"vectors": (FEATURES, d), "sequence_1_ages": (24, d)} | block | deep | output
    blocks, size = {}, d
    for at, following in enumerate(c["attention_sizes"], 1):
        for kind in ("queries", "keys", "values", "residual"):
            blocks |= {f"block_{at}_{kind}_weights": (following, size), f"block_{at}_{kind}_bias": (following,)}
        if not c["as_published"]:
            blocks |= {f"block_{at}_norm_scale": (following,), f"block_{at}_norm_shift": (following,)}
        size = following
    both = {"vectors": (FEATURES, d)} | blocks | {"output_weights": (1, N * size), "output_bias": (1,)}
    return both | (deep | output if c["hidden_sizes"] else {})


def perceptron(p, name, x, sizes):
    for at in range(1, len(sizes) + 1):
        x = F.relu(x @ p[f"{name}_{at}_weights"].T + p[f"{name}_{at}_bias"])
    return x


def run_tower(p, name, x, sizes):
    return (perceptron(p, name, x, sizes) @ p[f"{name}_output_weights"].T + p[f"{name}_output_bias"])[:, 0]


def attention(p, at, x, c, size):
    f = (lambda t: t) if c["as_published"] else F.relu
    project = lambda kind: f(x @ p[f"block_{at}_{kind}_weights"].T + p[f"block_{at}_{kind}_bias"])
    q, k, v, residual = (project(kind) for kind in ("queries", "keys", "values", "residual"))
    width = size // c["num_heads"]
    heads = []
    for head in range(c["num_heads"]):
        part = slice(head * width, (head + 1) * width)
        logits = torch.einsum("bfd,bgd->bfg", q[..., part], k[..., part])
        if not c["as_published"]:
            logits = logits / width**0.5
        heads.append(torch.softmax(logits, -1) @ v[..., part])
    out = F.relu(torch.cat(heads, -1) + residual)
    if c["as_published"]:
        return out
    mean, variance = out.mean(-1, keepdim=True), out.var(-1, unbiased=False, keepdim=True)
    return (out - mean) / (variance + 1e-8).sqrt() * p[f"block_{at}_norm_scale"] + p[f"block_{at}_norm_shift"]


def dice(p, name, x, learning):
    """Batch statistics while it learns; else the running ones, which start as 0 and 1."""
    mean, variance = (x.mean(0), x.var(0, unbiased=False)) if learning else (torch.zeros(x.shape[1]), torch.ones(x.shape[1]))
    share = torch.sigmoid((x - mean) / (variance + 1e-8).sqrt())
    return share * x + (1 - share) * p[f"{name}_slope"] * x


def dice_tower(p, name, x, sizes, learning):
    for at in range(1, len(sizes) + 1):
        x = dice(p, f"{name}_{at}", x @ p[f"{name}_{at}_weights"].T + p[f"{name}_{at}_bias"], learning)
    return x @ p[f"{name}_output_weights"].T + p[f"{name}_output_bias"]


def din(c, p, v, learning):
    pairs = [(row, feature) for row, past in enumerate(HISTORIES) for feature, _ in past]
    t = torch.stack([v[row, ITEM] for row, _ in pairs])
    h = torch.stack([p["vectors"][feature] for _, feature in pairs])
    weights = dice_tower(p, "attention_1", torch.cat([t, h, t - h, t * h], 1), c["attention_sizes"], learning)
    interest = [torch.zeros(c["embedding_size"])] * len(ROWS)
    for (row, _), weight, vector in zip(pairs, weights, h):
        interest[row] = interest[row] + weight * vector
    seen = torch.cat([v.reshape(len(ROWS), -1), torch.stack(interest)], 1)
    return dice_tower(p, "deep", seen, c["hidden_sizes"], learning)[:, 0]


def bst(c, p, v):
    d, slots = c["embedding_size"], []
    size = 2 * d
    position = lambda age: 1 + min(int(math.log2(1 + 24 * age)), 22)
    for row, past in enumerate(HISTORIES):
        elements = [torch.cat([p["vectors"][feature], p["sequence_1_ages"][position(age)]]) for feature, age in past]
        x = torch.stack(elements + [torch.cat([v[row, ITEM], p["sequence_1_ages"][0]])])[None]
        for at in range(1, c["num_layers"] + 1):
            get = lambda kind: p[f"sequence_1_block_{at}_{kind}"]
            # PyTorch's own block, its parameters replaced by ours.
            block = torch.nn.TransformerEncoderLayer(
                size, c["num_heads"], dim_feedforward=size, dropout=0.0, activation=F.leaky_relu, batch_first=True
            )
            ours = {
                "self_attn.in_proj_weight": torch.cat([get("queries_weights"), get("keys_values_weights")]),
                "self_attn.in_proj_bias": torch.cat([get("queries_bias"), get("keys_values_bias")]),
                "self_attn.out_proj.weight": get("heads_weights"), "self_attn.out_proj.bias": get("heads_bias"),
                "linear1.weight": get("inner_weights"), "linear1.bias": get("inner_bias"),
                "linear2.weight": get("outer_weights"), "linear2.bias": get("outer_bias"),
                "norm1.weight": get("norm_1_scale"), "norm1.bias": get("norm_1_shift"),
                "norm2.weight": get("norm_2_scale"), "norm2.bias": get("norm_2_shift"),
            }
            x = torch.func.functional_call(block, ours, (x,))
        empty = torch.zeros(MAX_LEN - len(past), size)
        slots.append(torch.cat([empty, x[0]]).reshape(-1))
    z = torch.cat([v.reshape(len(ROWS), -1), torch.stack(slots)], 1)
    for at in range(1, len(c["hidden_sizes"]) + 1):
        z = F.leaky_relu(z @ p[f"deep_{at}_weights"].T + p[f"deep_{at}_bias"])
    return (z @ p["deep_output_weights"].T + p["deep_output_bias"])[:, 0]


def logits(model, c, p, learning):
    pairs = [(f, g) for f in range(N) for g in range(f + 1, N)]
    linear = vectors(p["first_order"]).sum((1, 2)) + p["bias"] if "first_order" in p else 0.0
    if model == "lr":
        return linear
    v = vectors(p["vectors"])
    if model == "din":
        return din(c, p, v, learning)
    if model == "bst":
        return bst(c, p, v)
    if model == "fm" and c.get("within_fields"):
        every = [[value * p["vectors"][feature] for field in row for feature, value in field] for row in ROWS]
        return linear + torch.stack([sum(a @ b for i, a in enumerate(row) for b in row[i + 1 :]) for row in every])
    if model == "fm":
        return linear + sum((v[:, f] * v[:, g]).sum(1) for f, g in pairs)
    if model == "fwfm":
        return linear + sum(p["strengths"][f, g] * (v[:, f] * v[:, g]).sum(1) for f, g in pairs)
    if model == "ffm":
        v = v.reshape(len(ROWS), N, N, -1)
        return linear + sum((v[:, f, g] * v[:, g, f]).sum(1) for f, g in pairs)
    flat, sizes = v.reshape(len(ROWS), -1), c["hidden_sizes"]
    if model == "youtube-ranker":
        return run_tower(p, "deep", flat, sizes)
    if model == "wide-deep":
        return linear + run_tower(p, "deep", flat, sizes)
    if model == "deepfm":
        return linear + sum((v[:, f] * v[:, g]).sum(1) for f, g in pairs) + run_tower(p, "deep", flat, sizes)
    if model == "dcn":
        x = flat
        for at in range(1, c["num_layers"] + 1):
            x = flat * (x @ p[f"cross_{at}_weights"].T + p[f"cross_{at}_bias"]) + x
        deep = perceptron(p, "deep", flat if c["structure"] == "parallel" else x, sizes)
        seen = torch.cat([x, deep], 1) if c["structure"] == "parallel" else deep
        return (seen @ p["output_weights"].T + p["output_bias"])[:, 0]
    x = v
    for at, size in enumerate(c["attention_sizes"], 1):
        x = attention(p, at, x, c, size)
    out = (x.reshape(len(ROWS), -1) @ p["output_weights"].T + p["output_bias"])[:, 0]
    return out + run_tower(p, "deep", flat, sizes) if sizes else out


def case(name, model, config, seed):
    torch.manual_seed(seed)
    p = {key: (torch.randn(*shape) * 0.5).requires_grad_() for key, shape in shapes(model, config).items()}
    x = logits(model, config, p, learning=False)
    weights = [w if y == 1.0 and model == "youtube-ranker" else 1.0 for y, w in zip(LABELS, WATCHED)]
    learning = logits(model, config, p, learning=True)
    loss = F.binary_cross_entropy_with_logits(learning, torch.tensor(LABELS), torch.tensor(weights))
    loss.backward()
    flat = lambda t: [round(v, 12) for v in t.reshape(-1).tolist()]
    return {
        "name": name, "model": model, "config": config, "loss": loss.item(), "logits": flat(x.detach()),
        "parameters": {k: flat(v.detach()) for k, v in p.items()}, "gradients": {k: flat(v.grad) for k, v in p.items()},
    }


attention_config = {"embedding_size": 3, "attention_sizes": [4, 6], "num_heads": 2, "attention_dropout": 0.0, "embedding_dropout": 0.0}
CASES = [
    case("LR", "lr", {}, 1),
    case("FM", "fm", {"embedding_size": 3}, 2),
    case("FM within fields too", "fm", {"embedding_size": 3, "within_fields": True}, 13),
    case("FwFM", "fwfm", {"embedding_size": 3}, 3),
    case("FFM", "ffm", {"embedding_size": 2}, 4),
    case("Wide & Deep", "wide-deep", {"embedding_size": 3, "hidden_sizes": [5, 4], "dropout": 0.0}, 5),
    case("DeepFM", "deepfm", {"embedding_size": 3, "hidden_sizes": [5, 4], "dropout": 0.0}, 6),
    case("DCNv2, parallel", "dcn", {"embedding_size": 2, "num_layers": 2, "hidden_sizes": [5], "structure": "parallel"}, 7),
    case("DCNv2, stacked", "dcn", {"embedding_size": 2, "num_layers": 2, "hidden_sizes": [5], "structure": "stacked"}, 8),
    case("AutoInt, its code", "autoint", attention_config | {"as_published": False, "hidden_sizes": []}, 9),
    case("AutoInt+, the paper", "autoint", attention_config | {"as_published": True, "hidden_sizes": [5], "dropout": 0.0}, 10),
    case("DIN", "din", {"embedding_size": 3, "attention_sizes": [4, 3], "hidden_sizes": [5, 4]}, 11),
    case("BST", "bst", {"embedding_size": 2, "num_layers": 2, "num_heads": 2, "dropout": 0.0, "hidden_sizes": [5]}, 12),
    case("YouTube ranker", "youtube-ranker", {"embedding_size": 3, "hidden_sizes": [5, 4]}, 14),
]
starts, columns, values = [0], [], []
for fields in ROWS:
    for field in fields:
        columns += [feature for feature, _ in field]
        values += [value for _, value in field]
        starts.append(len(columns))
past = {
    "starts": [sum(len(h) for h in HISTORIES[:at]) for at in range(len(HISTORIES) + 1)],
    "columns": [feature for h in HISTORIES for feature, _ in h], "ages": [age for h in HISTORIES for _, age in h],
}
out = {"past": past, "starts": starts, "columns": columns, "values": values, "labels": LABELS, "watched": WATCHED, "cases": CASES}
(pathlib.Path(__file__).parent / "models.json").write_text(json.dumps(out) + "\n")
