"""Reference values of SASRec and BERT4Rec: PyTorch in float64, sequence after sequence, gradients by its autograd.

    python attention.py     # needs torch; writes attention.json beside itself
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
ITEMS = 9
SEQUENCES = [[3, 1, 4, 1, 5], [2, 6], [5, 3, 5, 8, 7, 0, 2]]
HISTORIES = [[0, 4], [7], [], [8, 1, 6, 2, 2, 5, 3, 0]]


def parameters(shapes, seed):
    draw = torch.Generator().manual_seed(seed)
    # Rounded to what f32 holds exactly.
    return {name: (torch.randn(shape, generator=draw) * 0.5).float().double().requires_grad_() for name, shape in shapes.items()}


def has_heads_product(c, block):
    return block != "sasrec" or c.get("heads_product", False)


def shapes(model, c):
    d, inner = c["embedding_size"], c["inner_size"]
    names = {"item_embedding": (ITEMS + (model == "bert4rec"), d)}
    if model == "bert4rec":
        names |= {"head": (d, d), "head_bias": (d,), "head_norm": (d,), "head_norm_bias": (d,), "item_bias": (ITEMS,)}
    positions, n = c.get("positions", "from-end"), c["max_len"]
    if positions.startswith("from"):
        names["position_embedding"] = (n, d)
    if positions == "relative":
        names["position_bias"] = (c["num_heads"], n if model == "sasrec" else 2 * n - 1)
    block = "post-norm" if model == "bert4rec" else c["block"]
    for layer in range(1, c["num_layers"] + 1):
        p = f"block_{layer}_"
        linear = {"queries": (d, d), "keys_values": (2 * d, d)} | ({"heads": (d, d)} if has_heads_product(c, block) else {})
        linear |= {"inner": (inner, d), "outer": (d, inner)}
        for name, shape in linear.items():
            names |= {p + name: shape, p + name + "_bias": (shape[0],)}
        for name in ("attention_norm", "inner_norm"):
            names |= {p + name: (d,), p + name + "_bias": (d,)}
    end = "input_norm" if block == "post-norm" else "last_norm"
    return names | {end: (d,), end + "_bias": (d,)}


def hidden(p, c, model, x):
    """Vectors of one sequence, from the scaled vectors of its items."""
    block = "post-norm" if model == "bert4rec" else c["block"]
    norm = lambda name, x: F.layer_norm(x, x.shape[-1:], p[name], p[name + "_bias"], 1e-8)
    linear = lambda name, x: F.linear(x, p[name], p[name + "_bias"])
    gelu = model == "bert4rec" or c["activation"] == "gelu"
    heads = c["num_heads"]

    def attention(prefix, queries, others):
        q = linear(prefix + "queries", queries)
        k, v = linear(prefix + "keys_values", others).chunk(2, -1)
        q, k, v = (t.view(len(t), heads, -1).transpose(0, 1) for t in (q, k, v))
        at = torch.arange(len(x))
        # Of key j and query i.
        away = at[None, :] - at[:, None]
        bias = torch.zeros(heads, len(x), len(x))
        if c.get("positions") == "relative":
            bias = p["position_bias"][:, (away if model == "bert4rec" else away.clamp(max=0)) + c["max_len"] - 1]
        if model == "sasrec":
            bias = bias.masked_fill(away > 0, -math.inf)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out = out.transpose(0, 1).reshape(len(x), -1)
        return linear(prefix + "heads", out) if has_heads_product(c, block) else out

    if "position_embedding" in p:
        first = 0 if c.get("positions") == "from-start" else c["max_len"] - len(x)
        x = x + p["position_embedding"][first : first + len(x)]
    if block == "post-norm":
        x = norm("input_norm", x)
    for layer in range(1, c["num_layers"] + 1):
        b = f"block_{layer}_"
        two = lambda x: linear(b + "outer", (F.gelu if gelu else F.relu)(linear(b + "inner", x)))
        if block == "sasrec":
            q = norm(b + "attention_norm", x)
            z = norm(b + "inner_norm", q + attention(b, q, x))
            x = z + two(z)
        elif block == "pre-norm":
            q = norm(b + "attention_norm", x)
            x = x + attention(b, q, q)
            x = x + two(norm(b + "inner_norm", x))
        else:
            x = norm(b + "attention_norm", x + attention(b, x, x))
            x = norm(b + "inner_norm", x + two(x))
    return x if block == "post-norm" else norm("last_norm", x)


def sasrec_loss(p, c, negatives):
    items, d = p["item_embedding"], c["embedding_size"]
    terms = []
    for sequence, others in zip(SEQUENCES, negatives):
        sequence = torch.tensor(sequence)
        h = hidden(p, c, "sasrec", items[sequence[:-1]] * math.sqrt(d))
        for at, target in enumerate(sequence[1:]):
            if c["loss"]["name"] == "cross-entropy":
                terms.append(F.cross_entropy((items @ h[at])[None], target[None]))
                continue
            drawn = torch.tensor(others[at + 1])
            positive, negative = h[at] @ items[target], items[drawn] @ h[at]
            if c["loss"]["name"] == "bpr":
                terms.append(-F.logsigmoid(positive - negative).mean())
            else:
                n = len(drawn)
                alpha = n / (ITEMS - 1)
                beta = alpha * (c["calibration"] * (1 - 1 / alpha) + 1 / alpha)
                # ln σ(s)^β
                terms.append(-(beta * F.logsigmoid(positive) + F.logsigmoid(-negative).sum()) / (n + 1))
    return sum(terms) / len(terms)


def judged(p, h):
    h = F.gelu(F.linear(h, p["head"], p["head_bias"]))
    return F.layer_norm(h, h.shape[-1:], p["head_norm"], p["head_norm_bias"], 1e-8)


def bert4rec_loss(p, c):
    """The last item alone is masked: the one choice that draws nothing."""
    terms = []
    for sequence in SEQUENCES:
        h = hidden(p, c, "bert4rec", p["item_embedding"][torch.tensor(sequence[:-1] + [ITEMS])])
        logits = judged(p, h[-1]) @ p["item_embedding"][:ITEMS].T + p["item_bias"]
        terms.append(F.cross_entropy(logits[None], torch.tensor(sequence[-1:])))
    return sum(terms) / len(terms)


def scores(p, c, model):
    rows = []
    for history in HISTORIES:
        last = history[-(c["max_len"] - (model == "bert4rec")) :]
        if not last:
            h = torch.zeros(c["embedding_size"])
        elif model == "sasrec":
            h = hidden(p, c, model, p["item_embedding"][torch.tensor(last)] * math.sqrt(c["embedding_size"]))[-1]
        else:
            h = judged(p, hidden(p, c, model, p["item_embedding"][torch.tensor(last + [ITEMS])])[-1])
        s = p["item_embedding"][:ITEMS] @ h
        rows.append((s + p["item_bias"] if model == "bert4rec" else s).tolist())
    return rows


def case(model, config, seed):
    p = parameters(shapes(model, config), seed)
    draw = torch.Generator().manual_seed(seed + 100)
    each = 0 if model == "bert4rec" or config["loss"]["name"] == "cross-entropy" else 3
    negatives = [torch.randint(ITEMS, (len(s), each), generator=draw).tolist() for s in SEQUENCES]
    loss = bert4rec_loss(p, config) if model == "bert4rec" else sasrec_loss(p, config, negatives)
    loss.backward()
    flat = lambda t: t.detach().flatten().tolist()
    return {
        "model": model,
        "config": config,
        "sequences": SEQUENCES,
        "negatives": [n for s in negatives for row in s for n in row],
        "histories": HISTORIES,
        "parameters": {name: flat(t) for name, t in p.items()},
        "loss": loss.item(),
        "gradients": {name: flat(t.grad) for name, t in p.items()},
        "scores": scores(p, config, model),
    }


base = {"embedding_size": 6, "inner_size": 6, "num_layers": 2, "num_heads": 1, "max_len": 7, "dropout": 0.0}
bce = {"name": "weighted-bce", "positive_weight": 1.0}
sasrec = lambda **keys: base | {"block": "sasrec", "activation": "relu", "loss": {"name": "cross-entropy"}, "calibration": 0.0} | keys
CASES = [
    ("sasrec", sasrec()),
    ("sasrec", sasrec(loss=bce, num_heads=2)),
    ("sasrec", sasrec(loss=bce, calibration=0.75, num_layers=1)),
    ("sasrec", sasrec(loss={"name": "bpr"}, block="pre-norm", inner_size=10)),
    ("sasrec", sasrec(block="pre-norm", activation="gelu", num_heads=3)),
    ("sasrec", sasrec(block="post-norm", max_len=9)),
    ("bert4rec", base | {"num_heads": 2, "inner_size": 11, "last_mask_share": 1.0}),
    ("bert4rec", base | {"num_layers": 1, "inner_size": 24, "last_mask_share": 1.0, "max_len": 8}),
    ("sasrec", sasrec(heads_product=True, positions="from-start", num_heads=2, num_layers=1, max_len=8)),
    ("sasrec", sasrec(positions="relative", num_heads=2, max_len=8, num_layers=1, block="pre-norm")),
    ("sasrec", sasrec(positions="none", num_layers=1)),
    ("bert4rec", base | {"positions": "relative", "num_heads": 2, "last_mask_share": 1.0, "max_len": 8}),
]
if __name__ == "__main__":
    made = [case(model, config, seed) for seed, (model, config) in enumerate(CASES)]
    pathlib.Path(__file__).with_name("attention.json").write_text(json.dumps(made, indent=1) + "\n")
