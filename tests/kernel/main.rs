//! Real clients call the lab's provider with the sensor beside them: what it reports is held against what happened.

mod openssl;
mod concurrency;
mod first;
mod life;
mod sensor;
