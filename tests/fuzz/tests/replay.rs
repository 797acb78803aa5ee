//! The committed corpus comes in; every input runs through its target as the fuzzer would run it.

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tollgate_fuzz::TARGETS;

    #[test]
    fn every_input_of_the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        for (name, run) in TARGETS {
            let inputs: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().collect();
            assert!(!inputs.is_empty(), "{name} has no corpus");
            for input in inputs {
                run(&fs::read(input.unwrap().path()).unwrap());
            }
        }
    }

    #[test]
    fn every_target_has_its_program_and_every_folder_its_target() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = fs::read_to_string(here.join("Cargo.toml")).unwrap();
        for (name, _) in TARGETS {
            let program = fs::read_to_string(here.join(format!("fuzz_targets/{name}.rs"))).unwrap();
            assert!(program.contains(&format!("run(\"{name}\", data)")), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
        for folder in fs::read_dir(here.join("corpus")).unwrap() {
            let folder = folder.unwrap().file_name();
            assert!(TARGETS.iter().any(|(name, _)| folder.to_str() == Some(*name)), "{folder:?}");
        }
    }
}
