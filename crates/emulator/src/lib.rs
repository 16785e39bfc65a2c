//! The local environment: emulator images and containers, from definition to sweep.
