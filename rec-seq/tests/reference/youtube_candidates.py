"""Reference values of YouTube's candidate generator: PyTorch in float64, row after row, gradients by its autograd.

    python youtube_candidates.py     # needs torch; writes youtube_candidates.json beside itself
"""

import json
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
ITEMS, MAX_LEN = 9, 3
# Side features of five users: one category, several, a number that may be missing.
GENDER = [0, 1, 1, 0, 1]
TAGS = [[2, 0], [], [3], [1, 1, 2], [0, 3]]
HEIGHT = [1.5, 2.0, None, 4.0, 2.5]
ROWS = [(0, [3, 1], 4, 0.125), (2, [5], 0, 0.875), (0, [2, 2, 7], 1, 0.0), (1, [0, 8, 6], 1, 0.5), (3, [4, 4, 0], 8, 0.25)]
SAMPLES = [1, 4, 4, 0, 7, 2, 5]
# Of users, None being a new one.
ASKED = [(0, [0, 4]), (None, [7, 1]), (1, []), (None, []), (2, [8, 2, 6, 6, 5]), (4, [3])]


def width(config):
    sizes = {"gender": config["feature_size"], "tags": config["feature_size"], "height": 1}
    return config["embedding_size"] + sum(sizes[name] for name in config["user_features"]) + config["example_age"]


def parameters(config, seed):
    draw = torch.Generator().manual_seed(seed)
    sizes = config["hidden_sizes"]
    shapes = {"item_embedding": (ITEMS, config["embedding_size"])}
    if not config["tie_embeddings"]:
        shapes["output_embedding"] = (ITEMS, sizes[-1] if sizes else config["embedding_size"])
    for name, count in (("gender", 2), ("tags", 4)):
        if name in config["user_features"]:
            shapes[f"user_{name}_embedding"] = (count, config["feature_size"])
    inputs = width(config)
    for at, units in enumerate(sizes):
        shapes |= {f"layer_{at + 1}": (units, inputs), f"layer_{at + 1}_bias": (units,)}
        inputs = units
    # Rounded to what f32 holds exactly.
    return {name: (torch.randn(shape, generator=draw) * 0.7).float().double().requires_grad_() for name, shape in shapes.items()}


def mean(table, bag):
    return torch.stack([table[i] for i in bag]).mean(0) if bag else torch.zeros(table.shape[1])


def hidden(p, config, user, history, age):
    parts = [mean(p["item_embedding"], history)]
    for name in config["user_features"]:
        if name == "gender":
            parts.append(mean(p["user_gender_embedding"], [] if user is None else [GENDER[user]]))
        elif name == "tags":
            parts.append(mean(p["user_tags_embedding"], [] if user is None else TAGS[user]))
        else:
            there = torch.tensor([h for h in HEIGHT if h is not None])
            missing = user is None or HEIGHT[user] is None
            parts.append(torch.zeros(1) if missing else ((HEIGHT[user] - there.mean()) / there.std(unbiased=False))[None])
    if config["example_age"]:
        parts.append(torch.tensor([age]))
    x = torch.cat(parts)
    for at in range(len(config["hidden_sizes"])):
        x = F.relu(p[f"layer_{at + 1}"] @ x + p[f"layer_{at + 1}_bias"])
    return x


def scores(p, config, user, history, age):
    outputs = p["item_embedding" if config["tie_embeddings"] else "output_embedding"]
    return outputs @ hidden(p, config, user, history, age)


def loss(p, config, log_q):
    terms = []
    for row, (user, history, target, age) in enumerate(ROWS):
        s = scores(p, config, user, history, age)
        if config["loss"]["name"] == "cross-entropy":
            terms.append(torch.logsumexp(s, 0) - s[target])
            continue
        corrected = config["loss"]["log_q"]
        positive = s[target] - (log_q[row] if corrected else 0)
        others = [s[i] - (log_q[len(ROWS) + at] if corrected else 0) for at, i in enumerate(SAMPLES)]
        terms.append(torch.logsumexp(torch.stack([positive] + others), 0) - positive)
    return sum(terms) / len(terms)


def case(config, seed):
    config = {"embedding_size": 6, "hidden_sizes": [], "tie_embeddings": False, "user_features": [], "feature_size": 3, "example_age": False} | config
    config["max_len"] = MAX_LEN
    p = parameters(config, seed)
    draw = torch.Generator().manual_seed(seed + 100)
    log_q = (-3 * torch.rand(len(ROWS) + len(SAMPLES), generator=draw) - 1).float().double()
    value = loss(p, config, log_q)
    value.backward()
    flat = lambda t: t.detach().flatten().tolist()
    return {
        "config": config,
        "batch": {"users": [r[0] for r in ROWS], "histories": [r[1] for r in ROWS], "targets": [r[2] for r in ROWS]}
        | {"ages": [r[3] for r in ROWS] if config["example_age"] else [], "samples": SAMPLES, "log_q": log_q.tolist()},
        "features": {"gender": GENDER, "tags": TAGS, "height": HEIGHT},
        "users": [user for user, _ in ASKED],
        "histories": [history for _, history in ASKED],
        "parameters": {name: flat(t) for name, t in p.items()},
        "loss": value.item(),
        "gradients": {name: flat(t.grad) for name, t in p.items()},
        "scores": [flat(scores(p, config, user, history[-MAX_LEN:], 0.0)) for user, history in ASKED],
    }


plain, corrected = ({"name": "sampled-softmax", "log_q": log_q} for log_q in (False, True))
full = {"name": "cross-entropy"}
CASES = [
    {"loss": plain, "tie_embeddings": True, "history": "others"},
    {"loss": corrected},
    {"loss": corrected, "hidden_sizes": [8, 7], "user_features": ["height", "gender", "tags"], "example_age": True},
    {"loss": full, "hidden_sizes": [6], "tie_embeddings": True, "user_features": ["tags"]},
    {"loss": corrected, "hidden_sizes": [9, 6], "tie_embeddings": True, "example_age": True},
]
made = [case(config, seed) for seed, config in enumerate(CASES)]
pathlib.Path(__file__).with_name("youtube_candidates.json").write_text(json.dumps(made, indent=1) + "\n")
