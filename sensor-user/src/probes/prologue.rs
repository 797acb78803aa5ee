//! The first instructions of a function come in; where a probe costs least goes out.
//!
//! The kernel emulates `push`, `nop`, `jcc`, `jmp` and `call`; every other instruction is executed out of line in a single
//! step, which costs ten times as much. A probe on the return of a function has to stand on its first instruction.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    Register,
};

/// Registers that carry the first five integer arguments (System V AMD64 ABI, 3.2.3).
const ARGUMENTS: [Register; 5] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8];

/// A wrapper passes its arguments to the function that does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Virtual address of the inner function.
    pub address: u64,
    /// Number of the argument that points to the count of bytes moved (3 or 4).
    pub written_argument: usize,
}

/// Whether the kernel emulates this instruction under a probe.
pub fn is_emulated(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Nop => true,
        Mnemonic::Push => instruction.op0_register() != Register::None,
        Mnemonic::Jmp | Mnemonic::Call => {
            instruction.is_jmp_short_or_near() || instruction.is_call_near()
        }
        _ => instruction.is_jcc_short_or_near(),
    }
}

/// Whether the function's first instruction is emulated.
pub fn starts_cheap(code: &[u8], address: u64) -> bool {
    decode(code, address).next().is_some_and(|first| is_emulated(&first))
}

/// Offset of the first emulated instruction that is reached with all arguments still in their registers; 0 where
/// there is none (the function's start always works).
pub fn entry_offset(code: &[u8], address: u64) -> u64 {
    let mut factory = InstructionInfoFactory::new();
    for instruction in decode(code, address) {
        if is_emulated(&instruction) {
            return instruction.ip().wrapping_sub(address);
        }
        if instruction.flow_control() != FlowControl::Next
            || writes_argument(&mut factory, &instruction)
        {
            break;
        }
    }
    0
}

/// The function that a thin wrapper calls with the object and the buffer untouched.
///
/// Of a wrapper that hands a local counter on, the register that receives the stack address tells which argument
/// it is; `_ex` forms hand their own pointer on, which the caller knows.
pub fn inner_call(code: &[u8], address: u64) -> Option<Inner> {
    let mut factory = InstructionInfoFactory::new();
    let mut written_argument = None;
    for instruction in decode(code, address) {
        if instruction.is_call_near() {
            return Some(Inner {
                address: instruction.near_branch_target(),
                written_argument: written_argument.unwrap_or(3),
            });
        }
        if matches!(
            instruction.flow_control(),
            FlowControl::Return | FlowControl::UnconditionalBranch
        ) {
            return None;
        }
        for used in factory.info(&instruction).used_registers() {
            let full = used.register().full_register();
            if is_write(used.access()) && matches!(full, Register::RDI | Register::RSI) {
                return None;
            }
        }
        written_argument = stack_pointer_argument(&instruction).or(written_argument);
    }
    None
}

/// Whether the function is a wrapper that ends in a jump to the one that works.
pub fn jumps_on(code: &[u8], address: u64) -> bool {
    let mut flow = decode(code, address).map(|instruction| instruction.flow_control());
    flow.find(|flow| *flow != FlowControl::Next) == Some(FlowControl::UnconditionalBranch)
}

/// How far into a Go function the branch stands that follows the comparison of the stack pointer with its limit: it is
/// emulated, and nothing has changed before it. 0 where the function begins in another way.
pub fn stack_check(code: &[u8], address: u64) -> u64 {
    for instruction in decode(code, address) {
        if instruction.is_jcc_short_or_near() {
            return instruction.ip().wrapping_sub(address);
        }
        // `lea r12, [rsp-n]` and `cmp r12, [r14+16]`; a small frame is compared at once.
        let harmless = match instruction.mnemonic() {
            Mnemonic::Lea => instruction.op0_register() == Register::R12,
            mnemonic => mnemonic == Mnemonic::Cmp,
        };
        if !harmless {
            break;
        }
    }
    0
}

/// Whether the function uses the fifth argument that it was called with.
pub fn takes_fifth_argument(code: &[u8], address: u64) -> bool {
    let mut factory = InstructionInfoFactory::new();
    for instruction in decode(code, address) {
        let used = factory.info(&instruction).used_registers();
        let fifth = used.iter().find(|used| used.register().full_register() == Register::R8);
        if let Some(fifth) = fifth {
            return fifth.access() != OpAccess::Write;
        }
        if instruction.is_call_near() {
            return false;
        }
    }
    false
}

/// Which argument register gets an address on the stack (`mov rcx, rsp` or `lea rcx, [rsp+n]`).
fn stack_pointer_argument(instruction: &Instruction) -> Option<usize> {
    let from_stack = match instruction.mnemonic() {
        Mnemonic::Mov => instruction.op1_register() == Register::RSP,
        Mnemonic::Lea => matches!(instruction.memory_base(), Register::RSP | Register::RBP),
        _ => false,
    };
    let target = instruction.op0_register().full_register();
    ARGUMENTS
        .iter()
        .position(|register| *register == target)
        .filter(|index| from_stack && *index >= 3)
}

fn is_write(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

fn writes_argument(factory: &mut InstructionInfoFactory, instruction: &Instruction) -> bool {
    factory
        .info(instruction)
        .used_registers()
        .iter()
        .any(|used| is_write(used.access()) && ARGUMENTS.contains(&used.register().full_register()))
}

/// Decodes x86-64; of any other architecture nothing is known, and probes stay at the functions' start.
fn decode(code: &[u8], address: u64) -> impl Iterator<Item = Instruction> + '_ {
    let code = if cfg!(target_arch = "x86_64") { code } else { &[] };
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let instruction = decoder.can_decode().then(|| decoder.decode())?;
        (!instruction.is_invalid()).then_some(instruction)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sub rsp,0x18; mov rax,fs:0x28; mov [rsp+8],rax; xor eax,eax; test edx,edx; js +0x2f; mov rcx,rsp;
    /// movslq rdx,edx; call …` as compilers make of a wrapper with a stack protector.
    const WRAPPER: &[u8] = &[
        0x48, 0x83, 0xec, 0x18, 0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, 0x48, 0x89, 0x44,
        0x24, 0x08, 0x31, 0xc0, 0x85, 0xd2, 0x78, 0x2f, 0x48, 0x89, 0xe1, 0x48, 0x63, 0xd2, 0xe8,
        0x00, 0x01, 0, 0,
    ];
    /// `push rbp; mov rbp,rsp`.
    const PUSHING: &[u8] = &[0x55, 0x48, 0x89, 0xe5];
    /// `endbr64; push r12`.
    const CET: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x54];
    /// `sub rsp,8; mov rdi,rsi; push rbx`: the argument is gone before the push.
    const CLOBBERED: &[u8] = &[0x48, 0x83, 0xec, 0x08, 0x48, 0x89, 0xf7, 0x53];

    #[test]
    fn probe_moves_to_the_first_emulated_instruction() {
        const CASES: [(&[u8], bool, u64); 4] =
            [(WRAPPER, false, 22), (PUSHING, true, 0), (CET, false, 4), (CLOBBERED, false, 0)];
        for (code, cheap, offset) in CASES {
            assert_eq!(starts_cheap(code, 0x1000), cheap, "{code:x?}");
            assert_eq!(entry_offset(code, 0x1000), offset, "{code:x?}");
        }
    }

    #[test]
    fn fifth_argument_is_seen_where_it_is_read_before_it_is_written() {
        // push r15; mov r15,r8; xor r8d,r8d; call …
        assert!(takes_fifth_argument(&[0x41, 0x57, 0x4d, 0x89, 0xc7, 0xe8, 0, 0, 0, 0], 0));
        // mov r8,rsp; call …
        assert!(!takes_fifth_argument(&[0x49, 0x89, 0xe0, 0xe8, 0, 0, 0, 0], 0));
        assert!(!takes_fifth_argument(WRAPPER, 0));
    }

    #[test]
    fn wrapper_that_jumps_is_told_from_a_function() {
        // `xor r8d,r8d; xor ecx,ecx; jmp …`
        assert!(jumps_on(&[0x45, 0x31, 0xc0, 0x31, 0xc9, 0xe9, 0, 1, 0, 0], 0x1000));
        assert!(!jumps_on(WRAPPER, 0x1000) && !jumps_on(PUSHING, 0x1000));
    }

    #[test]
    fn probe_on_a_go_function_stands_on_its_first_branch() {
        // `lea r12,[rsp-0x48]; cmp r12,[r14+0x10]; jbe …`, and `cmp rsp,[r14+0x10]; jbe …`.
        let large = [0x4c, 0x8d, 0x64, 0x24, 0xb8, 0x4d, 0x3b, 0x66, 0x10, 0x76, 0x20];
        let small = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20];
        assert_eq!((stack_check(&large, 0x1000), stack_check(&small, 0x1000)), (9, 4));
        assert_eq!(stack_check(PUSHING, 0x1000), 0);
    }

    #[test]
    fn wrapper_leads_to_the_function_that_works() {
        let inner = inner_call(WRAPPER, 0x1000).unwrap();
        assert_eq!(inner, Inner { address: 0x1000 + 35 + 0x100, written_argument: 3 });
        assert_eq!(inner_call(CLOBBERED, 0x1000), None);
        assert_eq!(inner_call(&[], 0), None);
    }
}
