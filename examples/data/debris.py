"""Writes debris.csv, satellite.csv and debris_free.csv: angular velocities of tumbling bodies with noise of 1e-3 rad/s, every 0.1 s.

Torque 2e-3 sin(2 pi q_i t + i) about axis i, q = (0.05, 0.08, 0.11) Hz, held constant over each sample; first angular velocity (0.2, -0.15, 0.3).
The true inertias stand below; one Runge-Kutta step a sample. debris_free.csv is the body of debris.csv without torque.
"""
import math, random

DT, FIRST = 0.1, [0.2, -0.15, 0.3]


def matrix(xx, yy, zz, xy, xz, yz):
    return [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]


def cross(a, b):
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def times(m, v):
    return [sum(m[i][j] * v[j] for j in range(3)) for i in range(3)]


def solve(m, v):
    rows = [cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1])]
    determinant = sum(m[0][j] * rows[0][j] for j in range(3))
    return [sum(rows[j][i] * v[j] for j in range(3)) / determinant for i in range(3)]


def write(name, inertia, count, driven, seed):
    noise = random.Random(seed)
    rate = lambda w, t: solve(inertia, [a - b for a, b in zip(t, cross(w, times(inertia, w)))])
    step = lambda w, k, h: [a + h * b for a, b in zip(w, k)]
    w = FIRST
    with open(name, "w") as out:
        out.write("wx,wy,wz,tx,ty,tz\n")
        for sample in range(count + 1):
            time = sample * DT
            torque = [2e-3 * math.sin(2 * math.pi * q * time + i) * driven for i, q in enumerate((0.05, 0.08, 0.11))]
            seen = [a + noise.gauss(0, 1e-3) for a in w]
            out.write(",".join([f"{a:.6f}" for a in seen] + [f"{a:.9f}" for a in torque]) + "\n")
            k1 = rate(w, torque)
            k2 = rate(step(w, k1, DT / 2), torque)
            k3 = rate(step(w, k2, DT / 2), torque)
            k4 = rate(step(w, k3, DT), torque)
            w = [a + DT / 6 * (b + 2 * c + 2 * d + e) for a, b, c, d, e in zip(w, k1, k2, k3, k4)]


BODY = matrix(0.045, 0.051, 0.068, 0.002, -0.0015, 0.001)
write("debris.csv", BODY, 200, 1, 1)
write("debris_free.csv", BODY, 200, 0, 2)
write("satellite.csv", matrix(0.03, 0.04, 0.0698, 0, 0, 0), 100, 1, 3)
