//! Real clients call the lab's provider with the sensor beside them: what it reports is held against what happened.

#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod first;
#[cfg(test)]
mod gnutls;
#[cfg(test)]
mod life;
#[cfg(test)]
mod openssl;
#[cfg(test)]
mod sensor;
#[cfg(test)]
mod stacks;
