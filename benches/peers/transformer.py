"""The transformer of transformer.bp: pre-norm blocks, no mask."""
from peer import jax_adam, jax_step, serve, torch_adam, torch_step

HEADS = 3

# Large, so that Adam does not blow rounding up to a step where a gradient is zero.
EPS = 1e-4


def blocks(p):
    return sorted({int(name.split(".")[1]) for name in p if name.startswith("blocks.")})


def torch_loss(inputs, p):
    import torch.nn.functional as F

    h = inputs["x"]
    batch, tokens, width = h.shape
    norm = lambda x, name: F.layer_norm(x, (width,), p[name + ".weight"], p[name + ".bias"])
    linear = lambda x, name: F.linear(x, p[name + ".weight"], p[name + ".bias"])
    for i in blocks(p):
        b = f"blocks.{i}."
        joint = F.linear(norm(h, b + "norm1"), p[b + "attn.in_proj_weight"], p[b + "attn.in_proj_bias"])
        q, k, v = joint.view(batch, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        h = h + linear(mixed, b + "attn.out_proj")
        h = h + linear(F.gelu(linear(norm(h, b + "norm2"), b + "fc")), b + "proj")
    logits = linear(norm(h, "norm"), "logits")
    return F.cross_entropy(logits.flatten(0, 1), inputs["label"].flatten().long())


def jax_loss(inputs, p):
    import jax
    import jax.numpy as jnp

    h = inputs["x"]
    batch, tokens, width = h.shape
    linear = lambda x, name: x @ p[name + ".weight"].T + p[name + ".bias"]

    def norm(x, name):
        centred = x - jnp.mean(x, -1, keepdims=True)
        return centred / jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5) * p[name + ".weight"] + p[name + ".bias"]

    for i in blocks(p):
        b = f"blocks.{i}."
        joint = norm(h, b + "norm1") @ p[b + "attn.in_proj_weight"].T + p[b + "attn.in_proj_bias"]
        q, k, v = joint.reshape(batch, tokens, 3, HEADS, width // HEADS).transpose(2, 0, 3, 1, 4)
        scores = jax.nn.softmax(q @ k.swapaxes(-1, -2) / jnp.sqrt(jnp.float32(width // HEADS)))
        mixed = (scores @ v).transpose(0, 2, 1, 3).reshape(batch, tokens, width)
        h = h + linear(mixed, b + "attn.out_proj")
        h = h + linear(jax.nn.gelu(linear(norm(h, b + "norm2"), b + "fc"), approximate=False), b + "proj")
    logits = linear(norm(h, "norm"), "logits")
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), inputs["label"][..., None], axis=-1))


serve({"adam": {"torch": torch_step(torch_loss, torch_adam(0.001, EPS)), "jax": jax_step(jax_loss, jax_adam(0.001, EPS))}})
