//! The integration tests of the decision core, in one binary. Each module says what it proves.

mod evidence;
mod rollout;
