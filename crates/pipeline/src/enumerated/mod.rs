//! Every fault of every call, and death at every point: of a deployment, a rollback, and the environment's stack.
//!
//! A verb runs once in a scripted account without faults, which tells its calls. Then it runs anew for each of them and
//! each fault, on paused time, and again with the process gone at each of them. Afterwards the world must be as it was
//! to be, or as it was before, and the next command must find its way.
//!
//! Invariant: nobody's clock but tokio's, and no socket, so that a case is the same on any machine.

mod cases;
mod deaths;
mod faults;
mod judge;
mod order;
mod town;
mod verbs;
mod writes;
