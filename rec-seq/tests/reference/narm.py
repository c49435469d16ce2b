"""Reference values of NARM: PyTorch in float64, position after position and pair after pair, gradients by its autograd.

    python narm.py     # needs torch; writes narm.json beside itself
"""

import json
import pathlib

import torch

torch.set_default_dtype(torch.float64)
ITEMS, MAX_LEN = 9, 5
SEQUENCES = [[3, 1, 4, 1, 5, 8], [2, 7], [0, 6, 6, 2]]
HISTORIES = [[4], [], [1, 2, 3], [8, 7, 6, 5, 0, 1, 2]]


def parameters(config, seed):
    draw = torch.Generator().manual_seed(seed)
    d, u = config["embedding_size"], config["hidden_size"]
    shapes = {
        "item_embedding": (ITEMS, d),
        "input_weights": (d, 3 * u),
        "input_bias": (3 * u,),
        "recurrent_weights": (u, 3 * u),
        "recurrent_bias": (3 * u,),
        "attention_weights": (u, 2 * u),
        "attention_vector": (u,),
        "output_weights": (d, 2 * u),
    }
    # Rounded to what f32 holds exactly.
    return {name: (torch.randn(shape, generator=draw) * 0.5).float().double().requires_grad_() for name, shape in shapes.items()}


def scores(p, config, history):
    """Of all items after one prefix, which is a sample of its own."""
    if not history:
        return torch.zeros(ITEMS)
    u = config["hidden_size"]
    h, states = torch.zeros(1, u), []
    for item in history:
        x = p["item_embedding"][item][None]
        h = torch.gru_cell(x, h, p["input_weights"].T, p["recurrent_weights"].T, p["input_bias"], p["recurrent_bias"])
        states.append(h[0])
    a1, a2 = p["attention_weights"][:, :u].T, p["attention_weights"][:, u:].T
    alpha = torch.stack([p["attention_vector"] @ torch.sigmoid(a1 @ states[-1] + a2 @ state) for state in states])
    if config["softmax"]:
        alpha = torch.softmax(alpha, 0)
    local = sum(weight * state for weight, state in zip(alpha, states))
    return p["item_embedding"] @ (p["output_weights"] @ torch.cat([states[-1], local]))


def loss(p, config):
    terms = []
    for sequence in SEQUENCES:
        for end in range(1, len(sequence)):
            s = scores(p, config, sequence[:end])
            terms.append(torch.logsumexp(s, 0) - s[sequence[end]])
    return sum(terms) / len(terms)


def case(config, seed):
    config |= {"max_len": MAX_LEN, "embedding_dropout": 0.0, "dropout": 0.0}
    p = parameters(config, seed)
    value = loss(p, config)
    value.backward()
    flat = lambda t: t.detach().flatten().tolist()
    return {
        "config": config,
        "sequences": SEQUENCES,
        "users": [None] * len(HISTORIES),
        "histories": HISTORIES,
        "parameters": {name: flat(t) for name, t in p.items()},
        "loss": value.item(),
        "gradients": {name: flat(t.grad) for name, t in p.items()},
        "scores": [flat(scores(p, config, history[-MAX_LEN:])) for history in HISTORIES],
    }


CASES = [
    {"embedding_size": 4, "hidden_size": 6, "softmax": False},
    {"embedding_size": 6, "hidden_size": 5, "softmax": True},
]
made = [case(config, seed) for seed, config in enumerate(CASES)]
pathlib.Path(__file__).with_name("narm.json").write_text(json.dumps(made, indent=1) + "\n")
