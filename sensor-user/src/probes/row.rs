//! Tables of the TLS libraries are written with these words: a function of a library, and the program that goes there.

/// Kind of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On entry; may stand on any instruction that still has the arguments in their registers.
    Entry,
    /// On entry of a function that also has a return probe: shares its breakpoint at the first instruction.
    EntryWithReturn,
    /// On return.
    Return,
}

/// One row: a function and what happens there.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// C name of the function.
    pub function: &'static str,
    /// C prototype, as the library's headers have it.
    pub prototype: &'static str,
    /// Program of the kernel half.
    pub program: &'static str,
    /// Where it is attached.
    pub place: Place,
}

/// A row, in the order of its fields.
pub const fn row(
    function: &'static str,
    prototype: &'static str,
    program: &'static str,
    place: Place,
) -> Row {
    Row { function, prototype, program, place }
}
