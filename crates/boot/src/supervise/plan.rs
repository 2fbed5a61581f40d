//! From a signed release to a program with arguments, environment and folder. What must stay out: starting it.

use crate::{
    DoneTo,
    platform::{Launch, User},
    slots::{Part, Slots},
};
use staffel_core::{boot::Generation, ids::Digest};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// All that a service finds in its environment besides what its release says.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A service as it is to be run.
#[derive(Clone, Debug)]
pub struct ServicePlan {
    pub name: String,
    pub release: Digest,
    pub launch: Launch,
    /// Milliseconds.
    pub stop_timeout_ms: u64,
}

/// The agent's program.
#[derive(Clone, Debug)]
pub struct AgentProgram {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

/// `{dir}` and `{state}` in a release's arguments and environment.
pub struct Places {
    pub dir: PathBuf,
    pub state: PathBuf,
}

impl Places {
    fn fill(&self, text: &str) -> OsString {
        // Paths of ours that are no UTF-8 would be spoilt here; `serve` refuses such a folder.
        text.replace("{dir}", &self.dir.to_string_lossy()).replace("{state}", &self.state.to_string_lossy()).into()
    }

    /// A program of the release with its arguments; `None` if `exec` names no program.
    pub fn launch(
        &self,
        exec: &[String],
        environment: &BTreeMap<String, String>,
        user: Option<User>,
    ) -> Option<Launch> {
        let (program, arguments) = exec.split_first()?;
        let mut all: BTreeMap<OsString, OsString> = [("PATH".into(), SEARCH_PATH.into())].into();
        all.extend(environment.iter().map(|(name, value)| (name.into(), self.fill(value))));
        Some(Launch {
            program: self.dir.join(program.strip_prefix("./").unwrap_or(program)),
            arguments: arguments.iter().map(|argument| self.fill(argument)).collect(),
            environment: all,
            inherit_environment: false,
            directory: self.dir.clone(),
            user,
        })
    }
}

impl AgentProgram {
    /// The agent keeps the guard's environment (proxies, log levels) and learns where the guard is.
    pub fn launch(&self, root: &Path, user: Option<User>) -> Launch {
        Launch {
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            environment: [("STAFFEL_GUARD_ROOT".into(), root.into())].into(),
            inherit_environment: true,
            directory: root.to_path_buf(),
            user,
        }
    }
}

/// The services of a generation. Makes the folders that `{state}` stands for.
pub fn plans(
    slots: &Slots,
    generation: &Generation,
    parts: &[Part],
    user: Option<User>,
) -> Result<Vec<ServicePlan>, DoneTo> {
    let mut plans = Vec::new();
    for part in parts {
        let Some(service) = &part.release.service else { continue };
        let places =
            Places { dir: slots.folder(&generation.id, &part.name), state: slots.make_state_folder(&part.name, user)? };
        if let Some(launch) = places.launch(&service.exec, &service.environment, user) {
            plans.push(ServicePlan {
                name: part.name.clone(),
                release: part.digest,
                launch,
                stop_timeout_ms: service.stop_timeout_ms,
            });
        }
    }
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_the_program_stays_in_the_release() {
        let places = Places { dir: "/g/x/till".into(), state: "/s/till".into() };
        let exec = ["./bin/run".to_string(), "--in={dir}/a".into(), "{state}".into()];
        let environment = [("DATA".to_string(), "{state}/db".to_string())].into();
        let launch = places.launch(&exec, &environment, None).unwrap();
        assert_eq!(launch.program, Path::new("/g/x/till/bin/run"));
        assert_eq!(launch.arguments, ["--in=/g/x/till/a", "/s/till"]);
        assert_eq!(launch.environment[&OsString::from("DATA")], "/s/till/db");
        assert_eq!(launch.environment.len(), 2, "PATH and what the release says, nothing of ours");
        assert!(places.launch(&[], &environment, None).is_none());
    }
}
