//! Instructions and file offsets come in; programs and links that aya cannot make yet go out of raw system calls.
//!
//! The only unsafe code of the agent, with one call of the allocator. aya learns `uprobe_multi` links in a release that needs a newer compiler, and takes only programs it has loaded into its program arrays.
#![expect(unsafe_code, reason = "the bpf system call has no safe wrapper for these commands")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
/// `BPF_F_UPROBE_MULTI_RETURN` (linux/bpf.h).
const MULTI_RETURN: u32 = 1;
/// Bytes of the verifier's log that are kept of a refused program.
const LOG_BYTES: usize = 64 * 1024;

/// The first members of `union bpf_attr` for loading a program, as far as `expected_attach_type`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

/// `union bpf_attr` for a `uprobe_multi` link.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LinkAttributes {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    counters: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    padding: u32,
}

/// `union bpf_attr` for changing an element of a map.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct UpdateAttributes {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn call(command: libc::c_long, attributes: &[u8]) -> io::Result<i32> {
    // SAFETY: the attributes are valid for their length, and all addresses in them outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), attributes.len()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

fn descriptor(command: libc::c_long, attributes: &[u8]) -> io::Result<OwnedFd> {
    let descriptor = call(command, attributes)?;
    // SAFETY: the kernel has just given this descriptor to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn address<T: ?Sized>(of: &T) -> u64 {
    let address = std::ptr::from_ref(of).cast::<u8>().addr();
    u64::try_from(address).unwrap_or(u64::MAX)
}

/// Loads a probe program for `uprobe_multi` links; the error carries what the verifier said.
pub(super) fn load_multi(name: &str, license: &CStr, instructions: &[u8]) -> io::Result<OwnedFd> {
    let mut short = [0u8; 16];
    for (to, from) in short.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    let log = vec![0u8; LOG_BYTES];
    let mut attributes = LoadAttributes {
        kind: BPF_PROG_TYPE_KPROBE,
        instruction_count: u32::try_from(instructions.len() / 8).map_err(io::Error::other)?,
        instructions: address(instructions),
        license: address(license.to_bytes_with_nul()),
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: short,
        interface: 0,
        attach_type: BPF_TRACE_UPROBE_MULTI,
    };
    descriptor(BPF_PROG_LOAD, attributes.as_bytes()).or_else(|error| {
        attributes.log_level = 1;
        attributes.log_size = u32::try_from(log.len()).map_err(io::Error::other)?;
        attributes.log = address(log.as_slice());
        descriptor(BPF_PROG_LOAD, attributes.as_bytes()).map_err(|_same| {
            let text = String::from_utf8_lossy(&log);
            let text = text.trim_end_matches('\0').trim_end();
            let last = text
                .rsplit('\n')
                .take(12)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n");
            io::Error::new(error.kind(), format!("{error}; the verifier said: {last}"))
        })
    })
}

/// Attaches a program at offsets of an open file, for one process or (0) for all.
pub(super) fn link_multi(
    program: BorrowedFd<'_>,
    path: &CStr,
    offsets: &[u64],
    is_return: bool,
    pid: u32,
) -> io::Result<OwnedFd> {
    let attributes = LinkAttributes {
        program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        target: 0,
        attach_type: BPF_TRACE_UPROBE_MULTI,
        flags: 0,
        path: address(path.to_bytes_with_nul()),
        offsets: address(offsets),
        counters: 0,
        cookies: 0,
        count: u32::try_from(offsets.len()).map_err(io::Error::other)?,
        multi_flags: if is_return { MULTI_RETURN } else { 0 },
        pid,
        padding: 0,
    };
    descriptor(BPF_LINK_CREATE, attributes.as_bytes())
}

/// A structure of the kernel/user ABI as aya's maps take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Abi<T>(pub(super) T);

// SAFETY: the bounds say that `T` has no padding, that all its bytes may be read, and that any bytes make a `T`.
unsafe impl<T: Copy + FromBytes + IntoBytes + Immutable + 'static> aya::Pod for Abi<T> {}

/// Where a program is attached besides functions of processes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point<'a> {
    /// At a cgroup, with the attach type (`enum bpf_attach_type`).
    Cgroup(BorrowedFd<'a>, u32),
    /// At a raw tracepoint.
    Tracepoint(&'static CStr),
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct CgroupLinkAttributes {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct TracepointAttributes {
    name: u64,
    program: u32,
    padding: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct PinAttributes {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Begin of `struct bpf_link_info`, with what follows for a link at a cgroup.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    cgroup: u64,
    attach_type: u32,
    rest: [u32; 13],
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct InfoAttributes {
    descriptor: u32,
    length: u32,
    info: u64,
}

fn number(descriptor: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(descriptor.as_raw_fd()).map_err(io::Error::other)
}

/// Attaches a program; the link lives as long as its descriptor or its pin.
pub(super) fn link(program: BorrowedFd<'_>, point: Point<'_>) -> io::Result<OwnedFd> {
    let program = number(program)?;
    match point {
        Point::Cgroup(cgroup, attach_type) => {
            let target = number(cgroup)?;
            let attributes = CgroupLinkAttributes { program, target, attach_type, flags: 0 };
            descriptor(BPF_LINK_CREATE, attributes.as_bytes())
        }
        Point::Tracepoint(name) => {
            let name = address(name.to_bytes_with_nul());
            let attributes = TracepointAttributes { name, program, padding: 0 };
            descriptor(BPF_RAW_TRACEPOINT_OPEN, attributes.as_bytes())
        }
    }
}

/// Attaches a program to a map of sockets, in the place of the one before; the map holds it.
pub(super) fn attach_to_map(
    program: BorrowedFd<'_>,
    map: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<()> {
    let attributes = CgroupLinkAttributes {
        program: number(map)?,
        target: number(program)?,
        attach_type,
        flags: 0,
    };
    call(BPF_PROG_ATTACH, attributes.as_bytes()).map(drop)
}

/// Pins a link or map at a path of the bpf file system that is free.
pub(super) fn pin(object: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let path = address(path.to_bytes_with_nul());
    let attributes = PinAttributes { path, descriptor: number(object)?, flags: 0 };
    call(BPF_OBJ_PIN, attributes.as_bytes()).map(drop)
}

/// Number of the program of the link that is pinned at a path, if it still leads anywhere: a link at a cgroup can be
/// detached while its pin stays.
pub(super) fn program_of_pin(path: &CStr) -> io::Result<Option<u32>> {
    /// `BPF_LINK_TYPE_CGROUP` (linux/bpf.h).
    const AT_CGROUP: u32 = 3;
    let path = address(path.to_bytes_with_nul());
    let opened =
        descriptor(BPF_OBJ_GET, PinAttributes { path, descriptor: 0, flags: 0 }.as_bytes())?;
    let mut info = LinkInfo::new_zeroed();
    let length = u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?;
    let attributes = InfoAttributes {
        descriptor: number(opened.as_fd())?,
        length,
        info: address(info.as_mut_bytes()),
    };
    call(BPF_OBJ_GET_INFO_BY_FD, attributes.as_bytes())?;
    let leads = info.kind != AT_CGROUP || std::hint::black_box(info.cgroup) != 0;
    Ok(leads.then_some(std::hint::black_box(info.program)))
}

/// Puts a program into a slot of a program array.
pub(super) fn set_tail(map: BorrowedFd<'_>, index: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    let value = program.as_raw_fd();
    let attributes = UpdateAttributes {
        map: u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?,
        padding: 0,
        key: address(&index),
        value: address(&value),
        flags: 0,
    };
    call(BPF_MAP_UPDATE_ELEM, attributes.as_bytes()).map(drop)
}

/// The instructions of a program as the kernel takes them.
pub(super) fn instruction_bytes(instructions: &[aya_obj::generated::bpf_insn]) -> Vec<u8> {
    instructions
        .iter()
        .flat_map(|instruction| {
            let [offset_low, offset_high] = instruction.off.to_ne_bytes();
            let [a, b, c, d] = instruction.imm.to_ne_bytes();
            let registers = if cfg!(target_endian = "little") {
                instruction.dst_reg() | (instruction.src_reg() << 4)
            } else {
                instruction.src_reg() | (instruction.dst_reg() << 4)
            };
            [instruction.code, registers, offset_low, offset_high, a, b, c, d]
        })
        .collect()
}

const _: () = assert!(size_of::<LinkAttributes>() == 64);

/// Gives memory that is free but still held back to the machine: reading the kernel's types takes many times what stays.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no precondition; it takes the allocator's own locks.
    let _given = unsafe { libc::malloc_trim(0) };
}
