//! Documents and facts come in; what the stage says about them is compared.

mod decide;
mod never;
mod properties;
mod unknown;
