//! The agreement about the rules of the gate comes in one place: their kinds, with what their values are; and where in a
//! conversation a TLS object is.

/// Kind of a rule about a destination: the value is its number.
pub const RULE_DESTINATION: u32 = 1;
/// Kind of a rule about a credential: the value is its fingerprint, at one destination or at all (`value_at`).
pub const RULE_CREDENTIAL: u32 = 2;
/// Kind of a rule about a model: the value is the hash of its name, at one destination or at all (`value_at`).
pub const RULE_MODEL: u32 = 3;
/// Kind of a rule about a path: the value is the hash of method and path up to a `/`, and the destination.
pub const RULE_PATH: u32 = 4;
/// Kind of a rule about credentials that have no rule of their own: the value is zero, at one destination or at all.
pub const RULE_OTHER_CREDENTIAL: u32 = 5;
/// Kind of a rule about models that have no rule of their own: the value is zero, at one destination or at all.
pub const RULE_OTHER_MODEL: u32 = 6;
/// Kind of a rule about a whole class, whatever it does: a panic about a workload.
pub const RULE_CLASS: u32 = 7;
/// Kind of a rule about models by the patterns that their names match: the value is what the automaton of the class says
/// (`form_at`), at one destination or at all (`value_at`). A rule about the whole name comes before it.
pub const RULE_MODEL_FORM: u32 = 8;
/// Kind of a rule about what cannot be seen: the value is the destination.
pub const RULE_OPAQUE: u32 = 9;

/// Kind of a rule that a destination's models stand in the path: class `CLASS_NONE`, the value is zero at the destination.
pub const RULE_MODEL_IN_PATH: u32 = 10;
/// Kind of a rule about requests that make something, by the last segments of their path, or what stands behind its last
/// colon: the value is the hash, at one destination or at all (`value_at`).
pub const RULE_PATH_TAIL: u32 = 11;
/// Kind of a rule about credentials that begin so: the value is the hash of the begin, at one destination (`value_at`). The
/// longest begin counts, and a rule about the fingerprint before it.
pub const RULE_KEY_PREFIX: u32 = 13;
/// Kind of a rule that says whose a destination is that is a part of a provider's hosts: class `CLASS_NONE`, the value is the
/// part, the reason of the verdict is the destination that stands for the whole provider.
pub const RULE_PART: u32 = 12;
/// Kind of a rule that says by which automaton a class's models are told apart: the value is zero, the reason of the verdict
/// is the automaton's number. Then `RULE_OTHER_MODEL` says nothing: what matches no pattern is a form like others.
pub const RULE_FORMS: u32 = 14;

/// The object expects the head of a request.
pub const HTTP_HEAD: u32 = 0;
/// The object is inside the body of an HTTP/1 request.
pub const HTTP_BODY: u32 = 1;
/// The object speaks HTTP/2: the agent decides about its requests.
pub const HTTP_2: u32 = 2;
/// The object is inside the body of an HTTP/1 request whose path has named the model.
pub const HTTP_BODY_NAMED: u32 = 3;
/// A part of that body is written.
pub const HTTP_BODY_BEGUN: u32 = 4;
/// The object has asked to become a WebSocket: another request comes next, or frames that are none.
pub const HTTP_UPGRADE: u32 = 5;
