"""Writes pendulum.csv: 400 samples of a damped pendulum, every 0.025 s, with noise of 5 mrad.

True values: gravity over length 9.81 / 1.2, damping 0.15 1/s, first angle 1.1 rad, at rest. Integrated with 100 small steps a sample.
"""
import math, random

random.seed(7)
g_over_l, damping, angle, speed, dt = 9.81 / 1.2, 0.15, 1.1, 0.0, 0.025


def slope(a, v):
    return v, -g_over_l * math.sin(a) - damping * v


with open("pendulum.csv", "w") as out:
    out.write("angle\n")
    for _ in range(400):
        out.write(f"{angle + random.gauss(0, 0.005):.6f}\n")
        h = dt / 100
        for _ in range(100):
            a1, v1 = slope(angle, speed)
            a2, v2 = slope(angle + h / 2 * a1, speed + h / 2 * v1)
            a3, v3 = slope(angle + h / 2 * a2, speed + h / 2 * v2)
            a4, v4 = slope(angle + h * a3, speed + h * v3)
            angle += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
            speed += h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
