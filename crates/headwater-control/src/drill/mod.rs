//! Drills: what is broken on purpose, and how well it was survived. Pure: the list, the judgement, the report's words.
//!
//! Breaking things and measuring is the program's; nothing here acts.

mod calibration;
mod list;
mod report;

pub use calibration::{Calibrated, Calibration, calibration_text};
pub use list::{DRILLS, Drill, Fault, Needs, find};
pub use report::{Measured, Report, Step, Verdict, markdown};
