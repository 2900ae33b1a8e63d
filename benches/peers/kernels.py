"""The single kernels of kernels.bp."""
from peer import serve


def torch_kernel(function):
    def build(inputs, p, compile):
        import torch

        x = inputs["x"].requires_grad_(True)
        forward = torch.compile(function) if compile else function

        def step():
            outputs = forward(x, inputs, p)
            weights = [p[name] for name in p]
            gradients = torch.autograd.grad(outputs, [x, *weights], allow_unused=True)
            return {"gradient": gradients[0], **{name.split(".")[1]: g for name, g in zip(p, gradients[1:])}}

        return step

    return build


def jax_kernel(function):
    def build(inputs, p, compile):
        import jax

        gradient = jax.jit(jax.grad(lambda x, p: function(x, inputs, p), argnums=(0, 1)))

        def step():
            x, weights = gradient(inputs["x"], p)
            return {"gradient": x, **{name.split(".")[1]: g for name, g in weights.items()}}

        return step

    return build


def torch_norm(x, inputs, p):
    import torch.nn.functional as F

    return (F.layer_norm(x, x.shape[-1:], p["y.weight"], p["y.bias"]) * inputs["cotangent"]).sum()


def torch_smooth(x, inputs, p):
    import torch.nn.functional as F

    return (F.gelu(x) * inputs["cotangent"]).sum()


def torch_entropy(x, inputs, p):
    import torch.nn.functional as F

    return F.cross_entropy(x, inputs["label"].long())


def jax_norm(x, inputs, p):
    import jax.numpy as jnp

    centred = x - jnp.mean(x, -1, keepdims=True)
    y = centred / jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5) * p["y.weight"] + p["y.bias"]
    return jnp.sum(y * inputs["cotangent"])


def jax_smooth(x, inputs, p):
    import jax
    import jax.numpy as jnp

    return jnp.sum(jax.nn.gelu(x, approximate=False) * inputs["cotangent"])


def jax_entropy(x, inputs, p):
    import jax
    import jax.numpy as jnp

    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), inputs["label"][:, None], axis=1))


serve({
    "norm": {"torch": torch_kernel(torch_norm), "jax": jax_kernel(jax_norm)},
    "smooth": {"torch": torch_kernel(torch_smooth), "jax": jax_kernel(jax_smooth)},
    "entropy": {"torch": torch_kernel(torch_entropy), "jax": jax_kernel(jax_entropy)},
})
