//! The object file of the kernel half comes in; whether it speaks this agent's ABI goes out.

use object::{Object, ObjectSection, ObjectSymbol};
use sensor_common::ABI_VERSION;

use super::Error;

/// Refuses an object that was built against another version of `sensor-common`.
pub(super) fn check(object: &[u8]) -> Result<(), Error> {
    match version_of(object) {
        Some(ABI_VERSION) => Ok(()),
        Some(other) => {
            Err(Error::Mismatch(format!("it speaks ABI {other}, the agent {ABI_VERSION}")))
        }
        None => Err(Error::Mismatch("it carries no ABI version".to_owned())),
    }
}

fn version_of(object: &[u8]) -> Option<u32> {
    let file = object::File::parse(object).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok("ABI"))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let at = usize::try_from(symbol.address()).ok()?;
    let bytes = section.data().ok()?.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_that_is_none_is_refused() {
        assert!(check(b"").is_err());
        assert!(check(b"\x7fELF but no more").is_err());
    }
}
