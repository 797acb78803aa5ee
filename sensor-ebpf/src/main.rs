//! The kernel half: hooks see processes, sockets, names and TLS plaintext come by; records go out through two rings.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod dns;
mod heard;
mod hello;
mod maps;
mod names;
mod opening;
mod process;
mod ring;
mod sockets;
mod tls;
mod tls_aead;
mod tls_bind;
mod tls_copy;
mod tls_gnutls;
mod tls_go;
mod tls_nss;
mod tls_ring;
mod tls_socket;
mod wire;

/// Licence under which the kernel takes the programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
