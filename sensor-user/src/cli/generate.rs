//! The definitions of the command line come in; completion scripts and the manual page go out.

use std::io;
use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;

/// Writes a completion script for a shell.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    // The generator gives up loudly on a closed pipe: it writes into memory first.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tollgate", &mut script);
    out.write_all(&script)
}

/// Writes the manual page: the program's, then one section for each command.
pub fn man(out: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let mut text = Vec::new();
        let page = Man::new(sub.clone());
        page.render_synopsis_section(&mut text)?;
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
        writeln!(out, ".SH COMMAND {}", sub.get_name().to_uppercase())?;
        // Sections of the command become parts of its section.
        out.write_all(String::from_utf8_lossy(&text).replace(".SH ", ".SS ").as_bytes())?;
    }
    page.render_version_section(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            completions(*shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            for word in ["run", "doctor", "config", "completions", "man", "hold"] {
                assert!(script.contains(word), "{shell} {word}");
            }
        }
    }

    #[test]
    fn manual_describes_every_option_of_run() {
        let mut page = Vec::new();
        man(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(".TH tollgate 1"), "{page}");
        for option in ["listen", "min\\-cost", "totals", "provider", "attach"] {
            assert!(page.contains(&format!("\\-\\-{option}")), "{option}");
        }
    }
}
