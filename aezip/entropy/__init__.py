"""Entropy coding of integer latents: what a symbol is likely to be, and the bits it then takes.

- `laplace`: the family of distributions, as a differentiable rate for training and as exact
  integer frequency tables for coding.
- `context`: the network that predicts a distribution from latents already known, evaluated in
  exact arithmetic so that every machine derives the same frequencies.
- `coder`: the range coder (constriction's) and the raw bits beside it.
- `parameters`: the decoder's own parameters as entropy-coded bytes.
"""
