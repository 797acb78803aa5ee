//! Sockets that change hands, and processes that change places.

use super::rows::{Row, not_covered, refused};
use super::stage::Stage;

pub(super) const ROWS: [Row; 9] = [
    refused("fork after connect", "what is known of a socket is kept with the socket"),
    refused("write from another thread", "the verdict is the socket's, not the thread's"),
    refused("socket handed over within", "by `SCM_RIGHTS`: the verdict is the socket's"),
    refused("socket handed out", "the maker's class counts beside the writer's"),
    not_covered(
        "socket handed in",
        "made by a process that is not enforced and handed over by `SCM_RIGHTS`: enforce that process too",
    ),
    refused("socket made before joining", "the connect is judged, at the root of the cgroups"),
    not_covered(
        "connected before joining",
        "the connection is older than the order: start the process in its cgroup",
    ),
    refused("connected again", "a second connect of a socket begins anew"),
    refused("user namespace", "hooks of a cgroup do not ask for users"),
];

#[test]
fn sockets_and_processes() {
    Stage::new("sockets", "").unwrap().check(&ROWS);
}
