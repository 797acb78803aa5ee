//! Real clients call the lab's provider with the sensor beside them: what it reports is held against what happened.

#[cfg(test)]
mod beside;
#[cfg(test)]
mod boringssl;
#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod container;
#[cfg(test)]
mod coverage;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod evasion;
#[cfg(test)]
mod exact;
#[cfg(test)]
mod files;
#[cfg(test)]
mod first;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod gnutls;
#[cfg(test)]
mod go;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod life;
#[cfg(test)]
mod names;
#[cfg(test)]
mod nss;
#[cfg(test)]
mod openssl;
#[cfg(test)]
mod pods;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod runtimes;
#[cfg(test)]
mod rustls;
#[cfg(test)]
mod scrape;
#[cfg(test)]
mod sensor;
#[cfg(test)]
mod short;
#[cfg(test)]
mod stacks;
#[cfg(test)]
mod unnamed;
#[cfg(test)]
mod unread;
#[cfg(test)]
mod websocket;
