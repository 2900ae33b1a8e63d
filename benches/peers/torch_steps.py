"""Times training steps in eager PyTorch: python3 torch_steps.py WORKLOAD THREADS. Prints the median in milliseconds.

Workloads: mlp (784-512-512-10, batch 128, SGD), mlp_adam, transformer (width 192, 4 blocks, 3 heads, 65 tokens, batch 32, Adam).
"""
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

workload, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
torch.manual_seed(0)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n = self.norm1(x)
        x = x + self.attn(n, n, n, need_weights=False)[0]
        return x + self.proj(F.gelu(self.fc(self.norm2(x))))


if workload.startswith("mlp"):
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    x, y = torch.randn(128, 784), torch.randint(0, 10, (128,))
    optimizer = torch.optim.Adam(model.parameters()) if workload == "mlp_adam" else torch.optim.SGD(model.parameters(), lr=0.01)
else:
    model = nn.Sequential(*[Block(192, 3) for _ in range(4)], nn.LayerNorm(192), nn.Linear(192, 10))
    x, y = torch.randn(32, 65, 192), torch.randint(0, 10, (32, 65))
    optimizer = torch.optim.Adam(model.parameters())


def step():
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x).flatten(0, -2), y.flatten())
    loss.backward()
    optimizer.step()


times = []
for turn in range(5 + (200 if workload.startswith("mlp") else 12)):
    start = time.perf_counter()
    step()
    if turn >= 5:
        times.append(time.perf_counter() - start)
print(1000 * statistics.median(times))
