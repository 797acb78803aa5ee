//! The functions of the OpenSSL family: which program goes to which, for shared libraries and static builds with symbols.

/// Name of the library in events (`tls.library`).
pub const LIBRARY: &str = "openssl";
/// Whoever has this function carries the library.
pub const KEY: &str = "SSL_write";
/// Whoever has this function carries the half that writes to sockets (libcrypto, or a static build).
pub const CHANNEL_KEY: &str = "BIO_write";

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

const fn row(
    function: &'static str,
    prototype: &'static str,
    program: &'static str,
    place: Place,
) -> Row {
    Row { function, prototype, program, place }
}

const WRITE: &str = "int SSL_write(SSL *ssl, const void *buf, int num);";
const WRITE_EX: &str = "int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written);";
const WRITE_EX2: &str =
    "int SSL_write_ex2(SSL *ssl, const void *buf, size_t num, uint64_t flags, size_t *written);";
const READ: &str = "int SSL_read(SSL *ssl, void *buf, int num);";
const READ_EX: &str = "int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes);";
const HANDSHAKE: &str = "int SSL_do_handshake(SSL *ssl);";

/// Calls that move plaintext, most urgent first. `SSL_peek*` is left out on purpose: what is peeked at is read again.
pub const DATA_ROWS: [Row; 10] = [
    row("SSL_write", WRITE, "tls_write", Place::EntryWithReturn),
    row("SSL_write", WRITE, "tls_write_done", Place::Return),
    row("SSL_write_ex", WRITE_EX, "tls_write_ex", Place::EntryWithReturn),
    row("SSL_write_ex", WRITE_EX, "tls_write_done", Place::Return),
    row("SSL_read", READ, "tls_read", Place::EntryWithReturn),
    row("SSL_read", READ, "tls_read_done", Place::Return),
    row("SSL_read_ex", READ_EX, "tls_read_ex", Place::EntryWithReturn),
    row("SSL_read_ex", READ_EX, "tls_read_done", Place::Return),
    row("SSL_write_ex2", WRITE_EX2, "tls_write_ex2", Place::EntryWithReturn),
    row("SSL_write_ex2", WRITE_EX2, "tls_write_done", Place::Return),
];

/// Calls that tell names, sockets and ends. `SSL_connect` ends in `SSL_do_handshake`, which is probed.
pub const CONTEXT_ROWS: [Row; 7] = [
    row("SSL_do_handshake", HANDSHAKE, "tls_handshake", Place::EntryWithReturn),
    row("SSL_do_handshake", HANDSHAKE, "tls_handshake_done", Place::Return),
    row(
        "SSL_ctrl",
        "long SSL_ctrl(SSL *ssl, int cmd, long larg, void *parg);",
        "tls_ctrl",
        Place::Entry,
    ),
    row(
        "SSL_set_tlsext_host_name",
        "int SSL_set_tlsext_host_name(SSL *ssl, const char *name);",
        "tls_set_host_name",
        Place::Entry,
    ),
    row("SSL_set_fd", "int SSL_set_fd(SSL *ssl, int fd);", "tls_set_fd", Place::Entry),
    row(
        "SSL_set_bio",
        "void SSL_set_bio(SSL *ssl, BIO *rbio, BIO *wbio);",
        "tls_set_bio",
        Place::Entry,
    ),
    row("SSL_free", "void SSL_free(SSL *ssl);", "tls_free", Place::Entry),
];

/// The call that puts TLS records into their channel.
pub const CHANNEL_ROW: Row = row(
    "BIO_write",
    "int BIO_write(BIO *b, const void *data, int dlen);",
    "bio_write",
    Place::Entry,
);

/// Functions whose wrappers may be thin: the plain form, the sized form, and the programs of the inner function by the
/// number of its argument that counts bytes (3, then 4).
pub const WRAPPED: [(&str, &str, [&str; 2], &str); 2] = [
    ("SSL_write", "SSL_write_ex", ["tls_write_ex", "tls_write_ex2"], "tls_write_done"),
    ("SSL_read", "SSL_read_ex", ["tls_read_ex", "tls_read_ex"], "tls_read_done"),
];

/// Every function name that is looked for.
pub fn functions() -> Vec<&'static str> {
    let rows = DATA_ROWS.iter().chain(&CONTEXT_ROWS).chain([&CHANNEL_ROW]);
    let mut names: Vec<_> = rows.map(|row| row.function).chain(["BIO_write_ex"]).collect();
    names.sort_unstable();
    names.dedup();
    names
}
