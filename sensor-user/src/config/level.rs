//! The text of a log level comes in; what of it would silence the agent by mistake, and what was probably meant, goes out.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::explain;

/// Words for levels, from no lines to all.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The crate that logs all lines of the agent: the program around it logs none, so its own name would stand for nothing.
const OWN: &str = "sensor_user";

/// What is wrong with a text that says what is logged, if anything is. A bare word that is no level stands for a module of
/// that name: where there is none, no line is logged, no error either.
pub(super) fn problem(text: &str) -> Option<String> {
    let parts = || text.split(',').filter(|part| !part.is_empty());
    if let Some(part) = parts().find(|part| !part.contains('=') && !is_about_agent(part)) {
        return Some(unknown(part));
    }
    if let Err(error) = text.parse::<EnvFilter>() {
        return Some(error.to_string());
    }
    if parts().next().is_some() && !parts().any(is_about_agent) {
        let with = format!("info,{text}");
        return Some(format!(
            "no line of the agent would be logged; begin with a level, as {with:?}"
        ));
    }
    None
}

/// Whether a part is a level for all lines, or about modules of the agent.
fn is_about_agent(part: &str) -> bool {
    let is_own = part.strip_prefix(OWN).is_some_and(|rest| {
        rest.is_empty() || ["::", "=", "["].iter().any(|sign| rest.starts_with(sign))
    });
    is_own || part.parse::<LevelFilter>().is_ok()
}

fn unknown(part: &str) -> String {
    match explain::nearest(&part.trim().to_ascii_lowercase(), &LEVELS) {
        Some(level) => format!("{part:?} is no level; did you mean {level:?}?"),
        None => format!(
            "{part:?} is no level; known are {}, and modules of the agent, as \"info,{OWN}::http=debug\"",
            LEVELS.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_that_would_silence_the_agent_is_refused_with_the_one_that_was_meant() {
        const CASES: [(&str, &str); 12] = [
            ("warning", "did you mean \"warn\"?"),
            ("inof", "did you mean \"info\"?"),
            ("Err", "did you mean \"error\"?"),
            ("info,debg", "\"debg\" is no level; did you mean \"debug\"?"),
            ("info, debug", "\" debug\" is no level; did you mean \"debug\"?"),
            ("info ", "did you mean \"info\"?"),
            ("verbosely", "known are off, error, warn, info, debug, trace"),
            ("tollgate", "is no level"),
            ("sensor_users", "is no level"),
            ("hyper", "is no level"),
            ("hyper=debug", "as \"info,hyper=debug\""),
            ("sensor_user=warning", "level"),
        ];
        for (text, part) in CASES {
            let said = problem(text).unwrap_or_default();
            assert!(said.contains(part), "{text}: {said:?}");
        }
    }

    #[test]
    fn levels_and_modules_of_the_agent_are_taken() {
        const CASES: [&str; 10] = [
            "info",
            "WARN",
            "off",
            "3",
            "",
            "sensor_user",
            "sensor_user::http",
            "sensor_user::http=debug",
            "info,sensor_user::http=debug",
            "info,hyper=debug",
        ];
        for text in CASES {
            assert_eq!(problem(text), None, "{text}");
        }
    }
}
