//! A program to a graph.
