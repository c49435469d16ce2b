"""Reference values of SQN, SAC and REINFORCE: PyTorch in float64, step after step, gradients by its autograd.

    python reinforcement.py     # needs torch; writes reinforcement.json beside itself
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
ITEMS = 7
SEQUENCES = [[3, 1, 4, 1, 5], [2, 6], [5, 3, 5, 0, 2, 4], [6, 6, 1]]
VALUES = [[1.0, 0.5, 2.0, 0.25, 3.0], [4.0, 1.5], [2.0, 1.0, 0.5, 0.75, 2.0, 1.0], [3.0, 0.5, 2.5]]
HISTORIES = [[0, 4], [5], [], [6, 1, 6, 2, 2, 5, 3, 0]]


def shapes(model, c):
    b = c["backbone"]
    d = b["embedding_size"]
    names = {"item_embedding": (ITEMS, d)}
    if b["name"] == "gru":
        u = b["hidden_size"]
        names |= {"gru_weights": (d, 3 * u), "gru_bias": (3 * u,), "gru_recurrent_weights": (u, 3 * u), "gru_recurrent_bias": (3 * u,)}
    else:
        u = d
        names["position_embedding"] = (c["max_len"], d)
        for name, shape in {"queries": (d, d), "keys_values": (2 * d, d), "inner": (b["inner_size"], d), "outer": (d, b["inner_size"])}.items():
            names |= {f"block_1_{name}": shape, f"block_1_{name}_bias": shape[:1]}
        for name in ("block_1_attention_norm", "block_1_inner_norm", "last_norm"):
            names |= {name: (d,), name + "_bias": (d,)}
    if not c["tie_embeddings"]:
        names["output_embedding"] = (ITEMS, u)
    names["output_bias"] = (ITEMS,)
    if model == "reinforce":
        return names | ({"behaviour_embedding": (ITEMS, u), "behaviour_bias": (ITEMS,)} if c["off_policy"] else {})
    for head in ("q_1", "q_2"):
        names |= {head + "_embedding": (ITEMS, u), head + "_bias": (ITEMS, 1)}
    return names


def gru(p, x):
    cell = torch.nn.GRUCell(x.shape[1], len(p["gru_recurrent_weights"]))
    by_name = dict(weight_ih="gru_weights", bias_ih="gru_bias", weight_hh="gru_recurrent_weights", bias_hh="gru_recurrent_bias")
    h, states = torch.zeros(1, cell.hidden_size), []
    for row in x:
        h = torch.func.functional_call(cell, {name: p[of].T if p[of].dim() == 2 else p[of] for name, of in by_name.items()}, (row[None], h))
        states.append(h[0])
    return torch.stack(states)


def blocks(p, c, x):
    """One of SASRec's own blocks with one head."""
    norm = lambda name, x: F.layer_norm(x, x.shape[-1:], p[name], p[name + "_bias"], 1e-8)
    linear = lambda name, x: F.linear(x, p["block_1_" + name], p["block_1_" + name + "_bias"])
    x = x * math.sqrt(x.shape[1]) + p["position_embedding"][c["max_len"] - len(x) :]
    q = norm("block_1_attention_norm", x)
    keys, values = linear("keys_values", x).chunk(2, -1)
    z = norm("block_1_inner_norm", q + F.scaled_dot_product_attention(linear("queries", q)[None], keys[None], values[None], is_causal=True)[0])
    return norm("last_norm", z + linear("outer", F.relu(linear("inner", z))))


def states_of(p, c, items):
    x = p["item_embedding"][torch.tensor(items)]
    return gru(p, x) if c["backbone"]["name"] == "gru" else blocks(p, c, x)


def scores_of(p, c, states):
    return states @ p["item_embedding" if c["tie_embeddings"] else "output_embedding"].T + p["output_bias"]


def rewards_of(c, values):
    return values[1:] if c["reward"] == "value" else [1.0] * (len(values) - 1)


def q_loss(p, c, model, moved, warm):
    """The loss where head `moved` (1 or 2) is moved."""
    gamma = c["discount"]
    q = lambda head, state, action: p[f"q_{head}_embedding"][action] @ state + p[f"q_{head}_bias"][action, 0]
    terms = []
    for sequence, values in zip(SEQUENCES, VALUES):
        states = states_of(p, c, sequence[:-1])
        for t, (action, reward) in enumerate(zip(sequence[1:], rewards_of(c, values))):
            target = torch.tensor(reward)
            if t + 1 < len(states):
                best = max(range(ITEMS), key=lambda a: q(moved, states[t + 1], a).item())
                target = reward + gamma * q(3 - moved, states[t + 1], best).detach()
            value = q(moved, states[t], action)
            weight = value.detach() if model == "sac" and not warm else 1.0
            terms.append(-weight * F.log_softmax(scores_of(p, c, states[t]), -1)[action] + (target - value) ** 2)
    return sum(terms) / len(terms)


def reinforce_loss(p, c):
    terms = []
    for sequence, values in zip(SEQUENCES, VALUES):
        states, rewards = states_of(p, c, sequence[:-1]), rewards_of(c, values)
        for t, action in enumerate(sequence[1:]):
            log_pi = F.log_softmax(scores_of(p, c, states[t]), -1)[action]
            pi = log_pi.detach().exp()
            weight = sum(c["discount"] ** k * r for k, r in enumerate(rewards[t:])) * c["top_k"] * (1 - pi) ** (c["top_k"] - 1)
            if c["off_policy"]:
                log_beta = F.log_softmax(states[t].detach() @ p["behaviour_embedding"].T + p["behaviour_bias"], -1)[action]
                weight = weight * min(pi / log_beta.detach().exp(), torch.tensor(c["weight_cap"]))
                terms.append(-log_beta)
            terms.append(-weight * log_pi)
    return sum(terms) / sum(len(s) - 1 for s in SEQUENCES)


def case(model, config, seed, warm):
    draw = torch.Generator().manual_seed(seed)
    # Rounded to what f32 holds exactly.
    make = lambda shape: (torch.randn(shape, generator=draw) * 0.5).float().double().requires_grad_()
    p = {name: make(shape) for name, shape in shapes(model, config).items()}
    # Nine digits are all that an f32 holds.
    flat = lambda t: [float(f"{v:.9g}") for v in t.detach().flatten().tolist()]
    losses, gradients = [], []
    for moved in (1, 2) if model != "reinforce" else (1,):
        loss = reinforce_loss(p, config) if model == "reinforce" else q_loss(p, config, model, moved, warm)
        found = torch.autograd.grad(loss, list(p.values()), allow_unused=True)
        losses.append(loss.item())
        gradients.append({name: flat(torch.zeros_like(t) if g is None else g) for (name, t), g in zip(p.items(), found)})
    rows = []
    for history in HISTORIES:
        last = history[-config["max_len"] :]
        state = states_of(p, config, last)[-1] if last else torch.zeros(p["gru_recurrent_weights"].shape[0] if "gru_bias" in p else config["backbone"]["embedding_size"])
        rows.append(flat(scores_of(p, config, state)))
    return {
        "model": model,
        "config": config,
        "step": 4 if warm else 5,
        "sequences": SEQUENCES,
        "values": VALUES,
        "histories": HISTORIES,
        "parameters": {name: flat(t) for name, t in p.items()},
        "losses": losses,
        "gradients": gradients,
        "scores": rows,
    }


gru_of = lambda d, u: {"name": "gru", "embedding_size": d, "hidden_size": u, "dropout": 0.0}
sasrec_of = lambda d: {"name": "sasrec", "embedding_size": d, "inner_size": d + 1, "dropout": 0.0}
base = {"max_len": 5, "tie_embeddings": False, "reward": "one", "discount": 0.5, "backbone": gru_of(4, 3)}
q = lambda **keys: base | keys
sac = lambda **keys: base | {"warm_up_steps": 5} | keys
agent = lambda **keys: base | {"off_policy": True, "weight_cap": 1.5, "top_k": 1, "discount": 0.9, "reward": "value"} | keys
CASES = [
    ("sqn", q(), False),
    ("sqn", q(backbone=sasrec_of(4), reward="value", discount=0.9), False),
    ("sqn", q(discount=0.0, reward="value", tie_embeddings=True, backbone=gru_of(3, 3)), False),
    ("sac", sac(), True),
    ("sac", sac(reward="value"), False),
    ("sac", sac(backbone=sasrec_of(3), tie_embeddings=True), False),
    ("reinforce", agent(off_policy=False), False),
    ("reinforce", agent(), False),
    ("reinforce", agent(weight_cap=0.8, top_k=4, backbone=sasrec_of(3), discount=0.5), False),
    ("reinforce", agent(weight_cap=100.0, top_k=2, reward="one", discount=1.0), False),
]
made = [case(model, config, seed, warm) for seed, (model, config, warm) in enumerate(CASES)]
pathlib.Path(__file__).with_name("reinforcement.json").write_text(json.dumps(made) + "\n")
