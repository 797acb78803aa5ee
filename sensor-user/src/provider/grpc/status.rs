//! The code that ends a gRPC call comes in; its name, and the HTTP status that stands for the same, go out.

/// Codes by their number, with the HTTP status that Google's APIs give for the same.
const CODES: [(&str, u16); 17] = [
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
];

/// The name of a code; one that nobody has given a name is `UNKNOWN`, as clients take it.
pub(in crate::provider) fn name(code: u16) -> &'static str {
    of(code).0
}

/// The HTTP status that says what the code says.
pub(in crate::provider) fn http_status(code: u16) -> u16 {
    of(code).1
}

fn of(code: u16) -> (&'static str, u16) {
    const UNKNOWN: (&str, u16) = ("UNKNOWN", 500);
    CODES.get(usize::from(code)).copied().unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_and_statuses_of_googles_apis() {
        const CASES: &[(u16, &str, u16)] = &[
            (0, "OK", 200),
            (8, "RESOURCE_EXHAUSTED", 429),
            (14, "UNAVAILABLE", 503),
            (16, "UNAUTHENTICATED", 401),
            (17, "UNKNOWN", 500),
        ];
        for (code, word, status) in CASES {
            assert_eq!((name(*code), http_status(*code)), (*word, *status));
        }
    }
}
