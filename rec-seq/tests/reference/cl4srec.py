"""Reference values of CL4SRec's contrastive loss: PyTorch in float64, view after view, gradients by its autograd.

    python cl4srec.py     # needs torch; writes cl4srec.json beside itself
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from attention import hidden, parameters, shapes

# First views of three sequences, then second ones; -1 is a hidden item.
VIEWS = [[3, 1, 4], [2, -1], [5, -1, 5, 8, -1, 0, 2], [1, 3, 4, 1], [2], [8, 7, 0]]
BACKBONE = {"embedding_size": 6, "inner_size": 6, "num_layers": 1, "num_heads": 2, "max_len": 7, "dropout": 0.0, "block": "sasrec", "activation": "relu"}
info_nce = lambda **keys: {"name": "info-nce", "temperature": 0.7} | keys
CONTRASTIVE = [
    info_nce(similarity="cosine", negatives="all-views"),
    info_nce(similarity="dot-product", negatives="all-views"),
    info_nce(similarity="cosine", negatives="other-view"),
    {"name": "contrastive", "margin": 2.5},
]


def contrastive(c, h):
    half = len(h) // 2
    pairs = [(i, (i + half) % len(h)) for i in range(len(h))]
    if c["name"] == "contrastive":
        friends = sum(((h[i] - h[j]) ** 2).sum() for i, j in pairs[:half]) / half
        strangers = [F.relu(c["margin"] - (h[i] - h[half + j]).norm()) ** 2 for i in range(half) for j in range(half) if i != j]
        return friends + sum(strangers) / len(strangers)
    alike = (lambda a, b: F.cosine_similarity(a, b, dim=0)) if c["similarity"] == "cosine" else (lambda a, b: a @ b)
    everyone = c["negatives"] == "all-views"
    terms = []
    for i, friend in pairs if everyone else pairs[:half]:
        others = [j for j in range(len(h)) if j != i and (everyone or j >= half)]
        scores = torch.stack([alike(h[i], h[j]) for j in others]) / c["temperature"]
        terms.append(-F.log_softmax(scores, 0)[others.index(friend)])
    return sum(terms) / len(terms)


def case(c, seed):
    p = parameters(shapes("sasrec", BACKBONE) | {"mask_embedding": (1, 6)}, seed)
    vectors = torch.cat([p["item_embedding"], p["mask_embedding"]])
    h = [hidden(p, BACKBONE, "sasrec", vectors[torch.tensor(view)] * math.sqrt(6))[-1] for view in VIEWS]
    loss = contrastive(c, h)
    loss.backward()
    unit = F.normalize(torch.stack(h).detach())
    left, right = unit[:3], unit[3:]
    uniform = lambda x: math.log(sum(math.exp(-2 * ((x[i] - x[j]) ** 2).sum()) for i in range(3) for j in range(i)) / 3)
    flat = lambda t: t.detach().flatten().tolist()
    return {
        "config": {"backbone": BACKBONE, "contrastive": c},
        "views": [[None if item < 0 else item for item in view] for view in VIEWS],
        "parameters": {name: flat(t) for name, t in p.items()},
        "loss": loss.item(),
        "gradients": {name: flat(t.grad if t.grad is not None else torch.zeros_like(t)) for name, t in p.items()},
        "alignment": ((left - right) ** 2).sum().item() / 3,
        "uniformity": (uniform(left) + uniform(right)) / 2,
    }


if __name__ == "__main__":
    made = [case(c, seed) for seed, c in enumerate(CONTRASTIVE)]
    pathlib.Path(__file__).with_name("cl4srec.json").write_text(json.dumps(made) + "\n")
