//! Plan, run, resume and undo: a deployment as a journalled saga.
