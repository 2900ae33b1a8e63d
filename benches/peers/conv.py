"""The convolutional net of conv.bp."""
from peer import jax_sgd, jax_step, serve, torch_sgd, torch_step


def torch_loss(inputs, p):
    import torch.nn.functional as F

    h = inputs["image"]
    for layer in ("first", "second"):
        h = F.max_pool2d(F.relu(F.conv2d(h, p[layer + ".weight"], p[layer + ".bias"], padding=1)), 2)
    h = F.relu(F.linear(h.flatten(1), p["hidden.weight"], p["hidden.bias"]))
    return F.cross_entropy(F.linear(h, p["logits.weight"], p["logits.bias"]), inputs["label"].long())


def jax_loss(inputs, p):
    import jax
    import jax.numpy as jnp

    h = inputs["image"]
    for layer in ("first", "second"):
        h = jax.lax.conv(h, p[layer + ".weight"], (1, 1), "SAME") + p[layer + ".bias"][:, None, None]
        h = jax.lax.reduce_window(jax.nn.relu(h), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    h = jax.nn.relu(h.reshape(h.shape[0], -1) @ p["hidden.weight"].T + p["hidden.bias"])
    logits = h @ p["logits.weight"].T + p["logits.bias"]
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), inputs["label"][:, None], axis=1))


serve({"sgd": {"torch": torch_step(torch_loss, torch_sgd(0.01)), "jax": jax_step(jax_loss, jax_sgd(0.01))}})
