//! A sensor that is held up while a client talks, with no other traffic on the machine: every byte is accounted for.

#[cfg(test)]
#[expect(dead_code, reason = "these tests need only a part of it")]
#[path = "../kernel/sensor.rs"]
mod sensor;

#[cfg(test)]
mod loss;
