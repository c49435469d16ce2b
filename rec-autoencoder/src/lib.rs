//! Autoencoder recommenders: AutoRec, CDAE, Mult-VAE. Nothing is here yet.
