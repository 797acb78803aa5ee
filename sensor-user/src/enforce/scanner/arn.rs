//! The state of a model's name in a path comes in; those that find the model which an ARN in its place names are added.
//!
//! ```text
//! arn:aws:bedrock:us-east-1:123456789012:inference-profile%2Fus.anthropic.claude-opus-5-5/converse
//!    ^colon                             ^ ^inside            ^behind: the name begins anew
//! ```

use sensor_common::scan::{MARK_NAMED, MARK_UNCLEAR};

use super::Scanner;

/// Adds the states of an ARN. Of the kinds of resources two name their model, `foundation-model` and `inference-profile`;
/// no other begins with `f` or `in`, and states are few.
pub(super) fn add(scanner: &mut Scanner, name: usize) {
    let colon = scanner.like(name);
    for state in [name, colon] {
        scanner.set(state, b':', colon, 0);
    }
    let percent = scanner.percent(name, name);
    scanner.escape(percent, b':', name, (colon, 0));
    let [second, inside, behind, escaped] = [(); 4].map(|()| scanner.like(name));
    for byte in (0..=u8::MAX).filter(|byte| !b"/ ?".contains(byte)) {
        let next = scanner.next(name, byte);
        scanner.set(behind, byte, next, MARK_NAMED);
        if next == name {
            scanner.set(inside, byte, inside, 0);
        }
    }
    scanner.set(colon, b'f', inside, 0);
    scanner.set(colon, b'i', second, 0);
    scanner.set(second, b'n', inside, 0);
    scanner.set(inside, b'/', behind, 0);
    for state in [colon, second, inside] {
        scanner.set(state, b'%', escaped, 0);
    }
    scanner.escape(escaped, b':', name, (colon, 0));
    scanner.escape(escaped, b'/', name, (behind, 0));
    // A kind that is spelt in escapes may be one of the two.
    for byte in [b'-'].into_iter().chain(b'a'..=b'z') {
        scanner.escape(escaped, byte, name, (name, MARK_UNCLEAR));
    }
}

#[cfg(test)]
mod tests {
    use sensor_common::scan::{MARK_NAMED_END, MARK_PATH, MARK_PATH_END};

    use super::*;
    use crate::enforce::scanner::METHOD;
    use crate::enforce::scanner::tests::{between, count};

    #[test]
    fn model_that_an_arn_names_is_found_and_other_resources_stay_whole() {
        // What stands for the model, what is found of it, and whether that is told as unclear.
        const CASES: [(&str, &str, usize); 14] = [
            (
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-opus-5-5",
                "us.anthropic.claude-opus-5-5",
                0,
            ),
            ("arn:aws:bedrock:il-central-1:1:inference-profile/il.x", "il.x", 0),
            ("arn:aws:bedrock:us-east-1::foundation-model%2fa.b-v1%3a0", "a.b-v1%3a0", 0),
            ("arn:aws:bedrock:us-east-1:%3Afoundation-model%2F%61.b", "%61.b", 0),
            (
                "arn%3aaws:bedrock:us-east-1:1:application-inference-profile%2Fa",
                "arn%3aaws:bedrock:us-east-1:1:application-inference-profile%2Fa",
                0,
            ),
            ("arn:a:b:c:1:provisioned-model%2Fa", "arn:a:b:c:1:provisioned-model%2Fa", 0),
            ("arn:a:b:c:1:imported-model%2Fa", "arn:a:b:c:1:imported-model%2Fa", 0),
            ("arn:a:b:c:1:inference-profile%2F", "arn:a:b:c:1:inference-profile%2F", 0),
            // Which kind it is, is not compared here.
            ("arn:a:b:c:1:%69nference-profile%2Fa", "arn:a:b:c:1:%69nference-profile%2Fa", 1),
            ("arn:a:b:c:1:inference%2Dprofile%2Fa", "arn:a:b:c:1:inference%2Dprofile%2Fa", 1),
            ("arn:a:b:c::foundatio%6E-model%2Fa", "arn:a:b:c::foundatio%6E-model%2Fa", 1),
            // Names that are none.
            ("anthropic.claude-v1%3A0", "anthropic.claude-v1%3A0", 0),
            ("amazon.nova-lite-v1:0:300k", "amazon.nova-lite-v1:0:300k", 0),
            ("a%2Db%2Fc", "a%2Db%2Fc", 0),
        ];
        for (name, expected, unclear) in CASES {
            let path = format!(" /model/{name}/converse");
            let text = format!("POST{path} HTTP/1.1\r\nhost: h\r\n\r\n{{}}");
            let found = between(&text, METHOD, MARK_NAMED, MARK_NAMED_END);
            assert_eq!(found.as_deref(), Some(expected), "{name}");
            assert_eq!(count(&text, METHOD, MARK_UNCLEAR), unclear, "{name}");
            assert_eq!(between(&text, METHOD, MARK_PATH, MARK_PATH_END), Some(path));
        }
    }
}
