//! Development only: emulators through testcontainers, stateful fakes, snapshot filters.
