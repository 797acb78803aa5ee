//! A file and what is known of it come in; probes stand in it.

use std::fs::File;
use std::os::fd::AsFd;

use crate::bpf::Kernel;
use crate::bpf::ProbeLink;

use super::Error;
use super::library::Library;
use super::plan::{Part, Plan};

/// Sets what a plan says in a process, or in all.
pub(super) fn set_probes(
    kernel: &mut Kernel,
    file: &File,
    plan: &Plan,
    pid: Option<u32>,
) -> Result<Vec<(Library, ProbeLink)>, Error> {
    let mut links = Vec::new();
    for Part { library, probes, .. } in &plan.parts {
        let probes = probes.iter().map(|probe| (probe.program, probe.offset));
        let set = kernel
            .attach_probes(probes, file.as_fd(), pid)
            .map_err(|source| Error::Attach { library: library.as_str(), source })?;
        links.extend(set.into_iter().map(|link| (*library, link)));
    }
    Ok(links)
}

/// Sets the gate's probes where the sensor's own stand already.
pub(super) fn set_beside(kernel: &Kernel, file: &File, plan: &Plan, pid: u32) -> Result<(), Error> {
    for Part { library, probes, .. } in &plan.parts {
        for probe in probes {
            kernel
                .attach_beside(probe.program, file.as_fd(), probe.offset, pid)
                .map_err(|source| Error::Attach { library: library.as_str(), source })?;
        }
    }
    Ok(())
}
