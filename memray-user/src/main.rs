//! The `memray` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    memray_user::cli::main()
}
