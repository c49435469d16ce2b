"""Reference values of GMF, MLP and NeuMF: the equations of arXiv:1708.05031 in float64, gradients by central differences.

    python neural.py        # needs numpy; writes neural.json beside itself
"""

import json
import pathlib

import numpy as np

USERS, ITEMS, STEP = 4, 6, 1e-6
BATCH = {
    # A user twice, an item as positive and as negative, a negative twice.
    "users": [2, 0, 2, 3],
    "positives": [1, 5, 4, 1],
    "negatives": [[4, 0], [0, 2], [2, 2], [5, 0]],
}


def shapes(config, model):
    """Parameters by name, in the order of the equations."""
    k, names = config["embedding_size"], {}
    if model == "gmf":
        return {"user_embedding": (USERS, k), "item_embedding": (ITEMS, k), "prediction": (k,), "prediction_bias": (1,)}
    d, sizes = (config["mlp_embedding_size"] if model == "neumf" else k), config["hidden_sizes"]
    prefix = "mlp_" if model == "neumf" else ""
    if model == "neumf":
        names |= {"gmf_user_embedding": (USERS, k), "gmf_item_embedding": (ITEMS, k), "gmf_prediction": (k,)}
    names |= {prefix + "user_embedding": (USERS, d), prefix + "item_embedding": (ITEMS, d)}
    names |= {"hidden_1_user": (sizes[0], d), "hidden_1_item": (sizes[0], d), "hidden_1_bias": (sizes[0],)}
    for layer in range(1, len(sizes)):
        names |= {f"hidden_{layer + 1}": (sizes[layer], sizes[layer - 1]), f"hidden_{layer + 1}_bias": (sizes[layer],)}
    return names | {prefix + "prediction": (sizes[-1],), "prediction_bias": (1,)}


def score(p, model, user, item):
    """The logit of one pair."""
    total = p["prediction_bias"][0]
    if model in ("gmf", "neumf"):
        g = "gmf_" if model == "neumf" else ""
        total += p[g + "prediction"] @ (p[g + "user_embedding"][user] * p[g + "item_embedding"][item])
    if model in ("mlp", "neumf"):
        m = "mlp_" if model == "neumf" else ""
        z = np.concatenate([p[m + "user_embedding"][user], p[m + "item_embedding"][item]])
        z = np.maximum(np.hstack([p["hidden_1_user"], p["hidden_1_item"]]) @ z + p["hidden_1_bias"], 0)
        layer = 2
        while f"hidden_{layer}" in p:
            z = np.maximum(p[f"hidden_{layer}"] @ z + p[f"hidden_{layer}_bias"], 0)
            layer += 1
        total += p[m + "prediction"] @ z
    return total


def loss(p, model, config):
    """The loss of the batch, written down pair by pair."""
    log_sigma = lambda x: -np.log1p(np.exp(-x))
    users, positives, negatives = BATCH["users"], BATCH["positives"], BATCH["negatives"]
    terms = []
    for user, positive, others in zip(users, positives, negatives):
        right = score(p, model, user, positive)
        wrong = [score(p, model, user, other) for other in others]
        if config["loss"]["name"] == "bpr":
            terms += [-log_sigma(right - x) for x in wrong]
        else:
            terms += [-config["loss"]["positive_weight"] * log_sigma(right)] + [-log_sigma(-x) for x in wrong]
    norm = 0.0
    for name, value in p.items():
        if "user_embedding" in name:
            norm += sum(value[u] @ value[u] for u in users) / len(users)
        elif "item_embedding" in name:
            norm += sum(value[i] @ value[i] for i in positives + sum(negatives, [])) / len(users)
        elif "bias" not in name:
            norm += np.sum(value**2)
    return np.mean(terms) + config["l2"] / 2 * norm


def gradient(p, model, config):
    slopes = {}
    for name, value in p.items():
        slope = np.zeros_like(value)
        for at in np.ndindex(value.shape):
            kept = value[at]
            value[at] = kept + STEP
            above = loss(p, model, config)
            value[at] = kept - STEP
            slope[at] = (above - loss(p, model, config)) / (2 * STEP)
            value[at] = kept
        slopes[name] = slope
    return slopes


def case(seed, model, sizes, l2, of):
    config = sizes | {"l2": l2, "loss": of}
    draws = np.random.default_rng(seed)
    # As f32, so that both sides start from the same numbers.
    p = {name: draws.normal(0, 0.7, shape).astype(np.float32).astype(np.float64) for name, shape in shapes(config, model).items()}
    flat = lambda arrays: {name: value.ravel().tolist() for name, value in arrays.items()}
    scores = [[score(p, model, u, i) for i in range(ITEMS)] for u in range(USERS)]
    batch = BATCH | {"negatives": sum(BATCH["negatives"], [])}
    about = {"model": model, "config": config, "users": USERS, "items": ITEMS, "batch": batch}
    return about | {"parameters": flat(p), "scores": scores, "loss": loss(p, model, config), "gradients": flat(gradient(p, model, config))}


def main():
    log_loss = lambda weight: {"name": "weighted-bce", "positive_weight": weight}
    gmf = {"embedding_size": 3}
    mlp = {"embedding_size": 4, "hidden_sizes": [7, 5, 3]}
    one_layer = {"embedding_size": 4, "hidden_sizes": [5]}
    neumf = {"embedding_size": 3, "mlp_embedding_size": 4, "hidden_sizes": [6, 5]}
    wanted = [
        ("gmf", gmf, 0.0, log_loss(1.0)),
        ("gmf", gmf, 0.3, {"name": "bpr"}),
        ("mlp", mlp, 0.0, log_loss(1.0)),
        ("mlp", one_layer, 0.2, log_loss(2.5)),
        ("neumf", neumf, 0.0, log_loss(1.0)),
        ("neumf", neumf, 0.1, log_loss(2.5)),
        ("neumf", neumf, 0.0, {"name": "bpr"}),
    ]
    cases = [case(seed, *what) for seed, what in enumerate(wanted)]
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
