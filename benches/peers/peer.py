"""One engine of `bpc bench`: python3 SCRIPT ENGINE CASE FOLDER THREADS.

A script beside this file calls `serve(cases)`, where `cases[CASE][FRAMEWORK](inputs, parameters)` gives the step as a function of no arguments
that returns {name: value}: what `bpc` calls `loss`, its outputs, and its parameters after the step.
"""
import json
import resource
import sys
import time

import numpy as np


def serve(cases):
    engine, case, folder, threads = sys.argv[1:5]
    framework = engine.split(".")[0]
    build = cases[case].get(framework)
    if build is None:
        print(json.dumps({"unknown": True}), flush=True)
        return
    inputs = dict(np.load(folder + "/inputs.npz"))
    parameters = dict(np.load(folder + "/parameters.npz"))
    if framework == "torch":
        import torch

        torch.set_num_threads(int(threads))
        torch.set_num_interop_threads(1)
        inputs = {name: torch.from_numpy(value) for name, value in inputs.items()}
        parameters = {name: torch.from_numpy(value).requires_grad_(value.dtype.kind == "f") for name, value in parameters.items()}
    else:
        import jax

        jax.config.update("jax_enable_x64", True)
        inputs = {name: jax.numpy.asarray(value) for name, value in inputs.items()}
        parameters = {name: jax.numpy.asarray(value) for name, value in parameters.items()}
    begin = time.perf_counter()
    step = build(inputs, parameters, compile=engine == "torch.compile")
    results = {name: to_numpy(value) for name, value in step().items()}
    print_line({"first": time.perf_counter() - begin}, before=lambda: np.savez(f"{folder}/{engine}.npz", **results))
    for line in sys.stdin:
        if not line.strip().isdigit():
            break
        seconds = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            wait(step())
            seconds.append(time.perf_counter() - begin)
        print_line({"seconds": seconds})
    print_line({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})


def print_line(answer, before=lambda: None):
    before()
    print(json.dumps(answer), flush=True)


def to_numpy(value):
    return value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)


def wait(results):
    """JAX returns before it has computed."""
    for value in results.values():
        if hasattr(value, "block_until_ready"):
            value.block_until_ready()


def torch_step(loss, make_optimizer):
    """A training step of PyTorch: `loss(inputs, parameters)`, an optimiser of the list of parameters."""

    def build(inputs, parameters, compile):
        import torch

        optimizer = make_optimizer(list(parameters.values()))
        function = torch.compile(loss) if compile else loss

        def step():
            optimizer.zero_grad()
            value = function(inputs, parameters)
            value.backward()
            optimizer.step()
            return {"loss": value, **parameters}

        return step

    return build


def jax_step(loss, make_optimizer):
    """The same in JAX; `make_optimizer(parameters)` gives a state and `update(state, parameters, gradients)`."""

    def build(inputs, parameters, compile):
        import jax

        state, update = make_optimizer(parameters)

        def whole(state, parameters, inputs):
            value, gradients = jax.value_and_grad(lambda parameters: loss(inputs, parameters))(parameters)
            state, parameters = update(state, parameters, gradients)
            return value, state, parameters

        function = jax.jit(whole, donate_argnums=(0, 1))
        held = [state, parameters]

        def step():
            value, held[0], held[1] = function(held[0], held[1], inputs)
            return {"loss": value, **held[1]}

        return step

    return build


def jax_sgd(rate):
    def make(parameters):
        def update(state, parameters, gradients):
            return state, {name: value - rate * gradients[name] for name, value in parameters.items()}

        return (), update

    return make


def jax_adam(rate, eps, beta1=0.9, beta2=0.999):
    def make(parameters):
        import jax.numpy as jnp

        zeros = lambda: {name: jnp.zeros_like(value) for name, value in parameters.items()}

        def update(state, parameters, gradients):
            first, second, count = state
            count = count + 1
            first = {name: beta1 * first[name] + (1 - beta1) * gradients[name] for name in parameters}
            second = {name: beta2 * second[name] + (1 - beta2) * gradients[name] ** 2 for name in parameters}
            scale1, scale2 = 1 / (1 - beta1**count), 1 / (1 - beta2**count)
            updated = {
                name: value - (rate * (first[name] * scale1) / (jnp.sqrt(second[name] * scale2) + eps)).astype(value.dtype)
                for name, value in parameters.items()
            }
            return (
                {name: value.astype(parameters[name].dtype) for name, value in first.items()},
                {name: value.astype(parameters[name].dtype) for name, value in second.items()},
                count,
            ), updated

        return (zeros(), zeros(), jnp.zeros((), jnp.float32)), update

    return make


def torch_sgd(rate):
    import importlib

    return lambda parameters: importlib.import_module("torch").optim.SGD(parameters, lr=rate)


def torch_adam(rate, eps):
    import importlib

    return lambda parameters: importlib.import_module("torch").optim.Adam(parameters, lr=rate, eps=eps)
