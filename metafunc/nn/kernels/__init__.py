"""Convolution, pooling and normalisation with derivatives that are exact to every order."""
