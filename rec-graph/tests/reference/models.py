"""Reference values of the graph models: PyTorch in float64 with dense matrices, gradients by its autograd.

    python models.py     # needs torch; writes models.json beside itself
"""

import json
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
USERS, ITEMS = 5, 7
# User 4 and item 6 have nobody.
PAIRS = [(0, 0), (0, 2), (0, 5), (1, 0), (1, 3), (2, 1), (2, 2), (2, 3), (2, 4), (3, 5), (3, 4)]
BATCH = {"users": [0, 2, 2, 3, 1], "positives": [2, 1, 4, 5, 0], "negatives": [1, 3, 5, 0, 6, 6, 0, 1, 2, 4]}
N = USERS + ITEMS


def adjacency(normalisation, own):
    a = torch.eye(N) if own else torch.zeros(N, N)
    for user, item in PAIRS:
        a[user, USERS + item] = a[USERS + item, user] = 1.0
    degree = a.sum(1)
    inverse = torch.where(degree > 0, 1 / degree.clamp(min=1e-300), torch.zeros(N))
    if normalisation == "left":
        return inverse[:, None] * a
    return inverse.sqrt()[:, None] * a * inverse.sqrt()[None, :]


def shapes(model, c):
    d = c["embedding_size"]
    names = {"user_embedding": (USERS, d), "item_embedding": (ITEMS, d)}
    for layer, (size, following) in enumerate(zip([d, *c.get("hidden_sizes", [])], c.get("hidden_sizes", [])), 1):
        if model == "gcn":
            names |= {f"layer_{layer}": (size, following), f"layer_{layer}_bias": (following,)}
        else:
            for kind in ("sum", "product"):
                names |= {f"layer_{layer}_{kind}": (size, following), f"layer_{layer}_{kind}_bias": (1, following)}
    return names


def layers(model, c, p):
    """Layer 0 and all further ones, and the final vectors."""
    first = torch.cat([p["user_embedding"], p["item_embedding"]])
    all = [first]
    if model == "ultragcn":
        return all, first
    if model in ("lightgcn", "simgcl", "xsimgcl"):
        a = adjacency("symmetric", False)
        for _ in range(c["num_layers"]):
            all.append(a @ all[-1])
        if model == "lightgcn":
            weights = c.get("layer_weights") or [1 / len(all)] * len(all)
            return all, sum(w * layer for w, layer in zip(weights, all))
        return all, sum(all[1:]) / c["num_layers"]
    if model == "gcn":
        a = adjacency("symmetric", True)
        for layer in range(1, len(c["hidden_sizes"]) + 1):
            all.append(F.relu(a @ all[-1] @ p[f"layer_{layer}"] + p[f"layer_{layer}_bias"]))
        return all, torch.cat(all, 1)
    a = adjacency(c["normalisation"], c["self_loops"])
    vectors, scaled = first, [first]
    for layer in range(1, len(c["hidden_sizes"]) + 1):
        near = a @ vectors
        linear = lambda kind, x: F.leaky_relu(x @ p[f"layer_{layer}_{kind}"] + p[f"layer_{layer}_{kind}_bias"], 0.2)
        vectors = linear("sum", near) + linear("product", near * vectors)
        scaled.append(F.normalize(vectors, dim=1))
    return scaled, torch.cat(scaled, 1)


def cosine_info_nce(left, right, temperature):
    logits = F.normalize(left, dim=1) @ F.normalize(right, dim=1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(left)))


def ultra(c, p):
    """The sum of the three losses, from the formulas."""
    x = torch.zeros(USERS, ITEMS)
    for user, item in PAIRS:
        x[user, item] = 1.0
    factors = lambda a: (((a.sum(1) + 1).sqrt() / a.sum(1).clamp(min=1))[:, None], (1 / (a.sum(0) + 1).sqrt())[None, :])
    beta = factors(x)[0] * factors(x)[1]
    gram = x.T @ x
    omega = gram * factors(gram)[0] * factors(gram)[1]
    scores = p["user_embedding"] @ p["item_embedding"].T
    negatives = torch.tensor(BATCH["negatives"]).view(len(BATCH["users"]), -1)
    value = 0
    for user, item, others in zip(BATCH["users"], BATCH["positives"], negatives):
        value = value - (c["positive_base"] + c["positive_beta"] * beta[user, item]) * F.logsigmoid(scores[user, item])
        weights = c["negative_base"] + c["negative_beta"] * beta[user, others]
        value = value - c["negative_weight"] * (weights * F.logsigmoid(-scores[user, others])).mean()
        weights, near = omega[item].topk(c["neighbours"])
        value = value - c["item_weight"] * (weights * F.logsigmoid(scores[user, near])).sum()
    return value


def loss(model, c, p):
    if model == "ultragcn":
        return ultra(c, p)
    all, last = layers(model, c, p)
    users, positives = torch.tensor(BATCH["users"]), USERS + torch.tensor(BATCH["positives"])
    views = c["loss"]["name"] == "info-nce"
    negatives = USERS + torch.tensor([] if views else BATCH["negatives"], dtype=torch.long)
    b = len(users)
    if views:
        value = cosine_info_nce(last[users], last[positives], c["loss"]["temperature"])
    else:
        positive = (last[users] * last[positives]).sum(1, keepdim=True)
        negative = (last[users][:, None] * last[negatives.view(b, -1)]).sum(2)
        value = -F.logsigmoid(positive - negative).mean()
    penalised = last if model in ("gcn", "ngcf") else all[0]
    value = value + c["l2"] / 2 * (penalised[torch.cat([users, positives, negatives])] ** 2).sum() / b
    if model in ("simgcl", "xsimgcl"):
        other = all[c["contrasted_layer"]] if model == "xsimgcl" else last
        for nodes in (users.unique(), positives.unique()):
            value = value + c["contrastive_weight"] * cosine_info_nce(last[nodes], other[nodes], c["temperature"])
    return value


def case(name, model, config, seed):
    draw = torch.Generator().manual_seed(seed)
    # Rounded to what f32 holds exactly.
    p = {k: (torch.randn(s, generator=draw) * 0.5).float().double().requires_grad_() for k, s in shapes(model, config).items()}
    value = loss(model, config, p)
    value.backward()
    _, last = layers(model, config, p)
    flat = lambda t: t.detach().flatten().tolist()
    return {
        "name": name,
        "model": model,
        "config": config,
        "parameters": {k: flat(v) for k, v in p.items()},
        "loss": value.item(),
        "gradients": {k: flat(v.grad) for k, v in p.items()},
        "scores": flat(last[:USERS] @ last[USERS:].T),
    }


BPR = {"name": "bpr"}
VIEWS = {"name": "info-nce", "temperature": 0.3}
light = lambda **more: {"embedding_size": 4, "num_layers": 3, "l2": 0.1, "loss": BPR} | more
deep = lambda **more: {"embedding_size": 4, "hidden_sizes": [5, 3], "dropout": 0.0, "l2": 0.1, "loss": BPR} | more
noisy = lambda **more: light(noise=0.0, contrastive_weight=0.4, temperature=0.2, **more)
thin = {"node_dropout": 0.0, "normalisation": "left", "self_loops": True}
CASES = [
    ("three layers", "lightgcn", light()),
    ("no layer", "lightgcn", light(num_layers=0)),
    ("weighted layers", "lightgcn", light(num_layers=2, layer_weights=[0.5, 0.0, 0.3], l2=0.0)),
    ("two views", "lightgcn", light(loss=VIEWS)),
    ("gcn", "gcn", deep()),
    ("gcn, two views", "gcn", deep(loss=VIEWS)),
    ("ngcf as its authors build it", "ngcf", deep(**thin)),
    ("ngcf, symmetric", "ngcf", deep(**thin | {"normalisation": "symmetric", "self_loops": False})),
    ("simgcl", "simgcl", noisy()),
    ("xsimgcl", "xsimgcl", noisy(contrasted_layer=1)),
    ("xsimgcl, second layer", "xsimgcl", noisy(contrasted_layer=2, num_layers=4)),
]
ultragcn = {"embedding_size": 4, "positive_base": 0.2, "positive_beta": 1.5, "negative_base": 0.1, "negative_beta": 0.7, "negative_weight": 3.0}
CASES.append(("ultragcn", "ultragcn", ultragcn | {"item_weight": 0.3, "neighbours": 2}))
cases = [case(*c, seed) for seed, c in enumerate(CASES)]
out = {"users": USERS, "items": ITEMS, "pairs": PAIRS, "batch": BATCH, "cases": cases}
pathlib.Path(__file__).with_name("models.json").write_text(json.dumps(out, indent=0) + "\n")
