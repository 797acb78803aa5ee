//! Real clients and the lab's server come in; agreement between what both saw goes out.

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod knobs;
#[cfg(test)]
mod network;
#[cfg(test)]
mod throughput;
