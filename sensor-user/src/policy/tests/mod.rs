//! Documents and facts come in; what the stage says about them is compared.

mod decide;
mod properties;
mod unknown;
