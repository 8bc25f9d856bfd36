//! The BPF object: programs of a few lines, the maps, and the drivers of what the library does.
//!
//! Everything here bounds, counts and submits; nothing filters by meaning. Each early return on the path of an
//! event adds to one `StatId`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    unsafe_code,
    reason = "every helper of the kernel and every map value is behind a raw pointer"
)]

mod programs;

/// Panics are compiled away: a reachable one would be a program that the verifier refuses.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lends its reading helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
