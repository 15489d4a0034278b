//! What the runs of Helm and Kustomize, and charts, may take.

use super::BUNDLE_BYTES_MAX;

/// Time for one run of Helm or Kustomize, in seconds.
pub const RENDER_SECS_MAX: u64 = 60;
/// Processor time of one run of Helm or Kustomize, in seconds.
pub const RENDER_CPU_SECS_MAX: u64 = 90;
/// Resident memory of one run of Helm or Kustomize, in bytes.
pub const RENDER_MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Address space of one run of Helm or Kustomize, in bytes. Go reserves far more than it uses.
pub const RENDER_ADDRESS_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// What one run of Helm or Kustomize may print, in bytes.
pub const RENDER_OUTPUT_BYTES_MAX: usize = BUNDLE_BYTES_MAX;
/// What one run of Helm or Kustomize may complain about, in bytes.
pub const RENDER_COMPLAINT_BYTES_MAX: usize = 256 * 1024;
/// Length of the part of a complaint that is shown, in bytes.
pub const RENDER_COMPLAINT_SHOWN_BYTES_MAX: usize = 800;
/// Largest file that a run of Helm or Kustomize may write, in bytes.
pub const RENDER_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Files that a run of Helm or Kustomize may have open.
pub const RENDER_FILES_OPEN_MAX: u64 = 1_024;
/// Time between two looks at the memory of Helm or Kustomize, in milliseconds.
pub const RENDER_POLL_MILLIS: u64 = 10;
/// How long a head waits for its renderings, in seconds, before it counts without those still under way; they
/// follow as they come, at this distance at most.
pub const RENDER_HANDOVER_SECS: u64 = 10;
/// Time before a rendering that failed for a reason that may pass is tried again, in seconds; doubles
/// each time.
pub const RENDER_RETRY_SECS_MIN: u64 = 10;
/// Longest time before such a rendering is tried again, in seconds.
pub const RENDER_RETRY_SECS_MAX: u64 = 900;
/// Files of one chart, its subcharts included.
pub const CHART_FILES_MAX: usize = 10_000;
/// Charts from elsewhere that a hub keeps, in bytes of their archives.
pub const CHARTS_KEPT_BYTES_MAX: u64 = 1 << 30;
/// Charts within charts, whether in folders of their own or packed.
pub const CHART_DEPTH_MAX: usize = 10;
/// Paths looked at to find the files of one chart and of those that it depends on, each folder counted
/// for each.
pub const CHART_LOOKED_PATHS_MAX: usize = 10 * CHART_FILES_MAX;
