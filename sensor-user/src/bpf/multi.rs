//! The object file and its created maps come in; probe programs for `uprobe_multi` links go out.
//!
//! A perf event's probe is taken away under one machine-wide lock, at 40 to 250 ms each; a `uprobe_multi` link is not.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::Map;
use aya_obj::{Object, ProgramSection};

use super::{Error, raw};

/// First kernel whose process scope of such links covers all threads of a process and nothing else.
const KERNEL_MIN: (u32, u32) = (6, 10);

/// Probe programs by name, with whether they run on return.
#[derive(Debug)]
pub(super) struct MultiPrograms {
    programs: HashMap<String, (OwnedFd, bool)>,
}

impl MultiPrograms {
    /// Loads every probe program of the object against the maps that aya has made.
    pub(super) fn load(object: &[u8], ebpf: &Ebpf) -> Result<Self, Error> {
        let parse = |error: &dyn std::fmt::Display| {
            Error::Mismatch(format!("its object file is broken: {error}"))
        };
        let mut object = Object::parse(object).map_err(|error| parse(&error))?;
        let maps: Vec<_> = object.maps.drain().collect();
        let texts = object.functions.keys().map(|(section, _)| *section).collect();
        let created = maps
            .iter()
            .map(|(name, map)| {
                // A map that is left out here would make the relocation below panic.
                let made = ebpf.map(name).and_then(descriptor_of);
                let unknown = || Error::Mismatch(format!("map {name} is of an unknown kind"));
                Ok((name.as_str(), made.ok_or_else(unknown)?.as_raw_fd(), map))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        object.relocate_maps(created.into_iter(), &texts).map_err(|error| parse(&error))?;
        object.relocate_calls(&texts).map_err(|error| parse(&error))?;
        let mut programs = HashMap::new();
        for (name, program) in &object.programs {
            let is_return = match program.section {
                ProgramSection::UProbe { .. } => false,
                ProgramSection::URetProbe { .. } => true,
                _ => continue,
            };
            let function = object
                .functions
                .get(&program.function_key())
                .ok_or_else(|| Error::Mismatch(format!("program {name} has no code")))?;
            let bytes = raw::instruction_bytes(&function.instructions);
            let loaded = raw::load_multi(name, &program.license, &bytes)
                .map_err(|source| Error::Raw { step: "loading", program: name.clone(), source })?;
            programs.insert(name.clone(), (loaded, is_return));
        }
        Ok(Self { programs })
    }

    /// The program's descriptor.
    pub(super) fn descriptor(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.programs.get(name).map(|(program, _)| program.as_fd())
    }

    /// Attaches a program at an offset of an open file, for one process or for all.
    pub(super) fn attach(
        &self,
        name: &str,
        file: BorrowedFd<'_>,
        offsets: &[u64],
        pid: Option<u32>,
    ) -> Result<OwnedFd, Error> {
        let failed = |source| Error::Raw { step: "attaching", program: name.to_owned(), source };
        let (program, is_return) = self
            .programs
            .get(name)
            .ok_or_else(|| Error::Mismatch(format!("it has no program {name}")))?;
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
            .map_err(|error| failed(io::Error::other(error)))?;
        raw::link_multi(program.as_fd(), &path, offsets, *is_return, pid.unwrap_or(0))
            .map_err(failed)
    }
}

/// Whether this kernel's links can be trusted with a process scope.
pub(super) fn is_usable(release: &str) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= KERNEL_MIN
}

/// Descriptor of a map of one of the kinds that the kernel half uses.
pub(super) fn descriptor_of(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::RingBuf(data)
        | Map::ProgramArray(data)
        | Map::SkStorage(data)
        | Map::SockHash(data) => Some(data.fd().as_fd()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::kernel::OBJECT;

    /// Number of the helper `bpf_tail_call`, and the operation code of a call.
    const TAIL_CALL: (u8, i32) = (0x85, 12);

    /// Kernels that preempt lazily give a probe program with 64 bytes of stack or more a per-CPU private stack, which
    /// another thread's hit overwrites; a program that holds a tail call gets none.
    #[test]
    fn every_probe_program_holds_a_tail_call() {
        let object = Object::parse(OBJECT).unwrap();
        let mut checked = 0;
        for (name, program) in &object.programs {
            let probe = matches!(
                program.section,
                ProgramSection::UProbe { .. } | ProgramSection::URetProbe { .. }
            );
            let code = &object.functions[&program.function_key()].instructions;
            let holds =
                code.iter().any(|instruction| (instruction.code, instruction.imm) == TAIL_CALL);
            assert!(!probe || holds, "{name} could share its stack with another thread");
            checked += u32::from(probe);
        }
        assert!(checked > 10, "{checked} programs");
    }

    #[test]
    fn process_scope_is_trusted_from_the_fixed_kernel_on() {
        const CASES: [(&str, bool); 5] = [
            ("5.10.0-46-amd64", false),
            ("6.9.1", false),
            ("6.10.0", true),
            ("6.18.15+deb13", true),
            ("", false),
        ];
        for (release, usable) in CASES {
            assert_eq!(is_usable(release), usable, "{release}");
        }
    }
}
