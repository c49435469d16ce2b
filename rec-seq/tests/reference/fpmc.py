"""Reference values of FPMC: PyTorch in float64, transition after transition, gradients by its autograd.

    python fpmc.py     # needs torch; writes fpmc.json beside itself
"""

import json
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
ITEMS = 9
# The last two users have no transition to learn from.
SEQUENCES = [[3, 1, 4, 1, 5], [2, 6], [5, 3, 5, 8, 7, 0, 2], [4], []]
LEARNED = [0, 1, 2]
# Of users, None being a new one.
ASKED = [(0, [0, 4]), (2, []), (3, [4]), (4, []), (None, [7, 1]), (None, []), (1, [2, 6, 6, 5])]


def parameters(config, seed):
    draw = torch.Generator().manual_seed(seed)
    d = config["embedding_size"]
    shapes = {"user_embedding": (len(SEQUENCES), d), "last_embedding": (ITEMS, d), "item_embedding": (ITEMS, 2 * d)}
    if not config["use_users"]:
        del shapes["user_embedding"]
        shapes["item_embedding"] = (ITEMS, d)
    # Rounded to what f32 holds exactly.
    return {name: (torch.randn(shape, generator=draw) * 0.5).float().double().requires_grad_() for name, shape in shapes.items()}


def scores(p, config, user, last):
    """Of all items, for a user's vector (of any user where None) after an item (after nothing where None)."""
    d = config["embedding_size"]
    out = torch.zeros(ITEMS)
    if config["use_users"]:
        learned = user in LEARNED
        vector = p["user_embedding"][user] if learned else p["user_embedding"][LEARNED].mean(0)
        out = out + p["item_embedding"][:, :d] @ vector
    if last is not None:
        out = out + p["item_embedding"][:, -d:] @ p["last_embedding"][last]
    return out


def loss(p, config, negatives):
    terms = []
    for user in LEARNED:
        sequence = SEQUENCES[user]
        for at, target in enumerate(sequence[1:]):
            s = scores(p, config, user, sequence[at])
            if config["loss"]["name"] == "cross-entropy":
                terms.append(F.cross_entropy(s[None], torch.tensor([target])))
            else:
                terms.append(-torch.log(torch.sigmoid(s[target] - s[negatives[user][at + 1]])).mean())
    return sum(terms) / len(terms)


def case(config, seed):
    p = parameters(config, seed)
    draw = torch.Generator().manual_seed(seed + 100)
    each = 0 if config["loss"]["name"] == "cross-entropy" else 3
    negatives = [torch.randint(ITEMS, (len(SEQUENCES[user]), each), generator=draw).tolist() for user in LEARNED]
    value = loss(p, config, negatives)
    value.backward()
    flat = lambda t: t.detach().flatten().tolist()
    return {
        "config": config,
        "sequences": SEQUENCES,
        "negatives": [n for user in negatives for row in user for n in row],
        "users": [user for user, _ in ASKED],
        "histories": [history for _, history in ASKED],
        "parameters": {name: flat(t) for name, t in p.items()},
        "loss": value.item(),
        "gradients": {name: flat(t.grad) for name, t in p.items()},
        "scores": [flat(scores(p, config, user, history[-1] if history else None)) for user, history in ASKED],
    }


bpr, full = {"name": "bpr"}, {"name": "cross-entropy"}
CASES = [(loss, users) for loss in (bpr, full) for users in (True, False)]
made = [case({"embedding_size": 5, "use_users": users, "loss": loss}, seed) for seed, (loss, users) in enumerate(CASES)]
pathlib.Path(__file__).with_name("fpmc.json").write_text(json.dumps(made, indent=1) + "\n")
