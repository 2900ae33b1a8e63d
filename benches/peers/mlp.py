"""Multilayer perceptrons: mlp.bp and small_mlp.bp."""
from peer import jax_adam, jax_sgd, jax_step, serve, torch_adam, torch_sgd, torch_step

# Large, so that Adam does not blow rounding up to a step where a gradient is zero.
EPS = 1e-4


def torch_loss(inputs, p):
    import torch.nn.functional as F

    h, layers = inputs["x"], sorted({name.split(".")[0] for name in p})
    for layer in layers[:-1]:
        h = F.relu(F.linear(h, p[layer + ".weight"], p[layer + ".bias"]))
    return F.cross_entropy(F.linear(h, p[layers[-1] + ".weight"], p[layers[-1] + ".bias"]), inputs["label"].long())


def jax_loss(inputs, p):
    import jax
    import jax.numpy as jnp

    h, layers = inputs["x"], sorted({name.split(".")[0] for name in p})
    for layer in layers[:-1]:
        h = jax.nn.relu(h @ p[layer + ".weight"].T + p[layer + ".bias"])
    logits = h @ p[layers[-1] + ".weight"].T + p[layers[-1] + ".bias"]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), inputs["label"][:, None], axis=1)
    return -jnp.mean(chosen)


serve({
    "sgd": {"torch": torch_step(torch_loss, torch_sgd(0.01)), "jax": jax_step(jax_loss, jax_sgd(0.01))},
    "adam": {"torch": torch_step(torch_loss, torch_adam(0.001, EPS)), "jax": jax_step(jax_loss, jax_adam(0.001, EPS))},
})
