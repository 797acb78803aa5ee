//! Subjects in a cgroup of the test's own get orders: what is denied never arrives, what is allowed beside it is not harmed.

mod alarms;
mod catalogue;
mod health;
mod hosts;
mod layers;
mod many;
mod panic;
mod paths;
mod patterns;
pub(crate) mod place;
mod policies;
mod requests;
mod restart;
mod signed;
