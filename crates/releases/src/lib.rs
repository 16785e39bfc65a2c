//! Rollback store: releases, journals and environment leases, in an embedded SQLite file.
