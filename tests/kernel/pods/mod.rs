//! Pods made through the CRI of a real containerd: their calls name them, and policies by namespace and label hold for them.

mod churn;
mod docker;
mod names;
mod place;
mod policies;
