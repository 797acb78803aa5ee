//! The gate: connects, messages and TLS calls of processes in an enforced scope come by; what policy forbids is refused.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod connect;
mod content;
mod credential;
mod form;
mod hello;
mod looks;
mod maps;
mod message;
mod name;
mod path;
mod rules;
mod socket;
mod subject;
mod tls;
mod values;

/// Licence under which the kernel takes the programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
