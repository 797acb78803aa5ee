//! The running kernel's type information comes in; offsets of structure members go out.

use std::fs;
use std::path::Path;

use super::Error;

/// Where the kernel shows its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;
/// Anonymous structures within structures are followed this deep.
const DEPTH_MAX: u32 = 8;

/// Byte offsets of the members of `task_struct`, and of one structure behind it, that the kernel half reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskOffsets {
    /// `group_leader`.
    pub group_leader: u32,
    /// `start_boottime` (`real_start_time` before Linux 5.5).
    pub start_boottime: u32,
    /// `pid`.
    pub pid: u32,
    /// `tgid`.
    pub tgid: u32,
    /// `signal`, with what the threads of a process share; 0 where it is not known.
    pub signal: u32,
    /// `live` of `signal_struct`, how many threads have not ended; 0 where it is not known.
    pub live: u32,
}

/// Reads the offsets from the running kernel.
pub fn task_offsets() -> Result<TaskOffsets, Error> {
    let bytes = fs::read(Path::new(VMLINUX))
        .map_err(|source| Error::Read { path: VMLINUX.into(), source })?;
    let types = Types::parse(&bytes)?;
    let member = |name: &str| {
        types
            .member_offset("task_struct", name)
            .ok_or_else(|| Error::Btf(format!("task_struct has no member {name}")))
    };
    Ok(TaskOffsets {
        group_leader: member("group_leader")?,
        start_boottime: member("start_boottime").or_else(|_| member("real_start_time"))?,
        pid: member("pid")?,
        tgid: member("tgid")?,
        signal: member("signal").unwrap_or_default(),
        live: types.member_offset("signal_struct", "live").unwrap_or_default(),
    })
}

/// One structure or union: where its members stand.
struct Composite {
    name: u32,
    members_at: usize,
    count: u32,
    bitfields: bool,
}

/// The parts of a BTF blob that member look-ups need.
struct Types<'a> {
    bytes: &'a [u8],
    strings_at: usize,
    /// By type id; `None` for everything that has no members.
    composites: Vec<Option<Composite>>,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}

impl<'a> Types<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::walk(bytes)
            .ok_or_else(|| Error::Btf("the blob is cut short or of an unknown kind".to_owned()))
    }

    fn walk(bytes: &'a [u8]) -> Option<Self> {
        let magic = bytes.get(0..2)?.try_into().ok().map(u16::from_ne_bytes)?;
        if magic != MAGIC {
            return None;
        }
        let head = usize::try_from(word(bytes, 4)?).ok()?;
        let types_at = head.checked_add(usize::try_from(word(bytes, 8)?).ok()?)?;
        let types_end = types_at.checked_add(usize::try_from(word(bytes, 12)?).ok()?)?;
        let strings_at = head.checked_add(usize::try_from(word(bytes, 16)?).ok()?)?;
        let mut composites = vec![None];
        let mut at = types_at;
        while at < types_end {
            let (name, info) = (word(bytes, at)?, word(bytes, at.checked_add(4)?)?);
            let (count, kind) = (info & 0xffff, (info >> 24) & 0x1f);
            at = at.checked_add(12)?;
            let entry = match kind {
                KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12,
                KIND_ENUM | KIND_FUNC_PROTO => 8,
                _ => 0,
            };
            let fixed = match kind {
                KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                KIND_ARRAY => 12,
                _ => 0,
            };
            composites.push(
                (entry == 12 && matches!(kind, KIND_STRUCT | KIND_UNION)).then_some(Composite {
                    name,
                    members_at: at,
                    count,
                    bitfields: info >> 31 == 1,
                }),
            );
            let size = usize::try_from(count).ok()?.checked_mul(entry)?.checked_add(fixed)?;
            at = at.checked_add(size)?;
        }
        Some(Self { bytes, strings_at, composites })
    }

    fn text_is(&self, name: u32, wanted: &str) -> bool {
        let Some(start) =
            usize::try_from(name).ok().and_then(|name| self.strings_at.checked_add(name))
        else {
            return false;
        };
        let rest = self.bytes.get(start..).unwrap_or_default();
        rest.starts_with(wanted.as_bytes()) && rest.get(wanted.len()) == Some(&0)
    }

    fn member_offset(&self, structure: &str, member: &str) -> Option<u32> {
        let found = self
            .composites
            .iter()
            .flatten()
            .filter(|composite| composite.count > 0)
            .find(|composite| self.text_is(composite.name, structure))?;
        self.find_in(found, member, DEPTH_MAX)
    }

    fn find_in(&self, composite: &Composite, member: &str, depth: u32) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        (0..usize::try_from(composite.count).ok()?).find_map(|index| {
            let at = composite.members_at.checked_add(index.checked_mul(12)?)?;
            let (name, kind) = (word(self.bytes, at)?, word(self.bytes, at.checked_add(4)?)?);
            let raw = word(self.bytes, at.checked_add(8)?)?;
            let bits = if composite.bitfields { raw & 0x00ff_ffff } else { raw };
            if self.text_is(name, member) {
                return Some(bits / 8);
            }
            if name != 0 {
                return None;
            }
            let inner = self.composites.get(usize::try_from(kind).ok()?)?.as_ref()?;
            self.find_in(inner, member, depth)?.checked_add(bits / 8)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_kernel_tells_where_a_task_keeps_its_ids() {
        let Ok(offsets) = task_offsets() else { return };
        assert_eq!(offsets.tgid, offsets.pid + 4);
        assert!(offsets.group_leader > offsets.tgid);
        assert!(offsets.signal > offsets.tgid && offsets.live > 0, "{offsets:?}");
    }

    #[test]
    fn cut_blob_is_an_error() {
        let bytes = fs::read(VMLINUX).unwrap_or_default();
        for end in [0, 3, 20, 100, bytes.len() / 2] {
            let part = bytes.get(..end).unwrap_or_default();
            assert!(Types::parse(part).is_err(), "{end} bytes");
        }
    }
}
