"""Reference values of GRU4Rec: PyTorch's own cells in float64, losses as the authors' code writes them, gradients by autograd.

    python gru4rec.py       # needs torch (values were made by 2.13.0); writes gru4rec.json beside itself

Each case has two steps of three lanes. At the first all begin; at the second the first lane begins again and the last has ended. The
second step's loss sees the first step's state as a constant; its gradients are the ones stored.
"""

import json
import math
import pathlib

import torch

ITEMS, LANES = 7, 3
STEPS = [
    {"lanes": [0, 1, 2], "begins": [True, True, True], "items": [1, 5, 5], "targets": [2, 5, 0], "samples": [3, 2, 6, 3]},
    {"lanes": [0, 1], "begins": [True, False], "items": [4, 5], "targets": [4, 1], "samples": [0, 4, 4, 2]},
]
LOG_Q = [[0.7, 1.1, 0.2, 0.1, 0.9, 0.4, 0.1], [1.3, 0.3, 0.2, 0.6, 0.6, 0.9]]
HISTORIES = [[3], [], [1, 5, 5, 0], [6, 2], [1, 5]]
PARTS = {"rnn": 1, "lstm": 4, "gru": 3, "gru-reset-before": 3}


def shapes(config):
    """Parameters by name, in the order in which the model makes them."""
    parts, sizes, names = PARTS[config["cell"]], config["hidden_sizes"], {}
    width = {"one-hot": None, "embedding": config["embedding_size"], "constrained": sizes[-1]}[config["input"]]
    if config["input"] == "one-hot":
        names["input_weights"] = (ITEMS, parts * sizes[0])
    if config["input"] == "embedding":
        names["input_embedding"] = (ITEMS, width)
    for at, units in enumerate(sizes, 1):
        if width is not None:
            names[f"layer_{at}_weights"] = (width, parts * units)
        names[f"layer_{at}_bias"] = (parts * units,)
        names[f"layer_{at}_recurrent_weights"] = (units, parts * units)
        if config["cell"] != "gru-reset-before":
            names[f"layer_{at}_recurrent_bias"] = (parts * units,)
        width = units
    return names | {"item_embedding": (ITEMS, sizes[-1]), "item_bias": (ITEMS, 1)}


def step(p, config, items, states):
    """One step of all lanes; `states` is a list of (h, c) by layer."""
    ids = torch.tensor(items)
    x = {
        "one-hot": lambda: torch.eye(ITEMS, dtype=torch.float64)[ids],
        "embedding": lambda: p["input_embedding"][ids],
        "constrained": lambda: p["item_embedding"][ids],
    }[config["input"]]()
    after = []
    for at, (units, (h, c)) in enumerate(zip(config["hidden_sizes"], states), 1):
        weights = p["input_weights"] if at == 1 and config["input"] == "one-hot" else p[f"layer_{at}_weights"]
        bias, recurrent = p[f"layer_{at}_bias"], p[f"layer_{at}_recurrent_weights"]
        if config["cell"] == "gru-reset-before":
            # Equations of the Theano code, its parts reordered.
            r, z, n = torch.split(x @ weights + bias, units, dim=1)
            v_r, v_z, v_n = torch.split(recurrent, units, dim=1)
            r, z = torch.sigmoid(r + h @ v_r), torch.sigmoid(z + h @ v_z)
            h, c = (1 - z) * h + z * torch.tanh(n + (r * h) @ v_n), None
        else:
            kind = {"rnn": torch.nn.RNNCell, "lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}[config["cell"]]
            cell = kind(x.shape[1], units, dtype=torch.float64)
            named = {"weight_ih": weights.T, "weight_hh": recurrent.T, "bias_ih": bias, "bias_hh": p[f"layer_{at}_recurrent_bias"]}
            out = torch.func.functional_call(cell, named, (x, (h, c) if config["cell"] == "lstm" else h))
            h, c = out if config["cell"] == "lstm" else (out, None)
        after.append((h, c))
        x = h
    return x, after


def softmax_neg(x):
    others = 1 - torch.eye(*x.shape, dtype=x.dtype)
    x = x * others
    e = torch.exp(x - x.max(dim=1, keepdim=True)[0]) * others
    return e / e.sum(dim=1, keepdim=True)


def losses(scores, loss):
    """The loss of each lane, the sum over which the authors' code divides by the number of lanes at the start."""
    rows, columns = scores.shape
    others = 1 - torch.eye(rows, columns, dtype=scores.dtype)
    positive = torch.diag(scores)[:, None]
    sigmoid = torch.sigmoid
    return {
        "cross-entropy": lambda: -torch.log(torch.diag(torch.softmax(scores, dim=1))),
        "sampled-softmax": lambda: -torch.log(torch.diag(torch.softmax(scores, dim=1))),
        "bpr": lambda: (-torch.log(sigmoid(positive - scores)) * others).sum(dim=1) / (columns - 1),
        "bpr-max": lambda: -torch.log((sigmoid(positive - scores) * softmax_neg(scores)).sum(dim=1))
        + loss.get("score_l2", 0.0) * (scores**2 * softmax_neg(scores)).sum(dim=1),
        "top1": lambda: ((sigmoid(scores - positive) + sigmoid(scores**2)) * others).sum(dim=1) / (columns - 1),
        "top1-max": lambda: (softmax_neg(scores) * (sigmoid(scores - positive) + sigmoid(scores**2))).sum(dim=1),
    }[loss["name"]]()


def activated(scores, how):
    if how["name"] == "elu":
        return torch.nn.functional.elu(scores, how["alpha"])
    return torch.tanh(scores) if how["name"] == "tanh" else scores


def case(config, salt):
    p, place = {}, 0
    for name, shape in shapes(config).items():
        n = math.prod(shape)
        values = [0.9 * math.sin((place + i + 1) * 12.9898 + salt) for i in range(n)]
        place += n
        p[name] = torch.tensor(values, dtype=torch.float32).double().reshape(shape).requires_grad_()
    begin = lambda rows: [(torch.zeros(rows, u, dtype=torch.float64),) * 2 for u in config["hidden_sizes"]]
    states, steps = begin(LANES), []
    for s, log_q in zip(STEPS, LOG_Q):
        keep = torch.tensor([[0.0 if b else 1.0] for b in s["begins"]], dtype=torch.float64)
        lanes = torch.tensor(s["lanes"])
        before = [tuple(None if t is None else t.detach()[lanes] * keep for t in layer) for layer in states]
        hidden, states = step(p, config, s["items"], before)
        ids = torch.tensor(s["targets"] + s["samples"])
        scores = hidden @ p["item_embedding"][ids].T + p["item_bias"][ids].T
        if config["loss"].get("log_q"):
            scores = scores - torch.tensor(log_q, dtype=torch.float64)
        value = losses(activated(scores, config["output_activation"]), config["loss"]).sum() / LANES
        steps.append(s | {"log_q": log_q, "loss": value.item()})
    value.backward()
    vectors = []
    for history in HISTORIES:
        walk = begin(1)
        x = walk[-1][0]
        for item in history:
            x, walk = step(p, config, [item], walk)
        vectors.append((x @ p["item_embedding"].T + p["item_bias"].T).squeeze(0).tolist())
    flat = lambda t: [float(v) for v in t.detach().reshape(-1)]
    zero = lambda t: torch.zeros_like(t) if t.grad is None else t.grad
    return {
        "config": config,
        "items": ITEMS,
        "lanes": LANES,
        "parameters": {name: flat(t) for name, t in p.items()},
        "steps": steps,
        "gradients": {name: flat(zero(t)) for name, t in p.items()},
        "histories": HISTORIES,
        "scores": vectors,
    }


def main():
    plain, elu = {"name": "identity"}, {"name": "elu", "alpha": 0.5}
    config = lambda cell, given, sizes, loss, act=plain: {
        "cell": cell, "input": given, "embedding_size": 2, "hidden_sizes": sizes, "loss": loss, "output_activation": act
    }
    xe = {"name": "cross-entropy"}
    cases = [config(cell, given, [3, 2], xe) for cell in PARTS for given in ["one-hot", "embedding", "constrained"]]
    cases += [
        config("gru", "constrained", [3], {"name": "sampled-softmax", "log_q": True}),
        config("gru", "constrained", [3], {"name": "sampled-softmax", "log_q": False}),
        config("gru", "constrained", [3], {"name": "bpr"}),
        config("gru", "constrained", [3], {"name": "bpr"}, {"name": "tanh"}),
        config("gru", "constrained", [3], {"name": "top1"}, {"name": "tanh"}),
        config("gru", "one-hot", [3], {"name": "top1-max"}),
        config("gru", "constrained", [3], {"name": "bpr-max", "score_l2": 0.7}, elu),
        config("gru-reset-before", "one-hot", [3], {"name": "bpr-max", "score_l2": 1.0}, {"name": "elu", "alpha": 1.0}),
    ]
    made = [case(c, salt) for salt, c in enumerate(cases)]
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text("[\n" + ",\n".join(json.dumps(c) for c in made) + "\n]\n")
    print(f"{len(made)} cases")


main()
