//! Real clients call the lab's provider with the sensor beside them: what it reports is held against what happened.

mod clients;
mod concurrency;
mod life;
mod sensor;
