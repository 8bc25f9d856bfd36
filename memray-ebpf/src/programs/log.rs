//! Words for whoever debugs the programs: `log!(&context, "...", ...)`. Nothing at all without the feature `log`.

#[cfg(feature = "log")]
macro_rules! log {
    ($context:expr, $($words:tt)*) => {
        aya_log_ebpf::debug!($context, $($words)*)
    };
}

#[cfg(not(feature = "log"))]
macro_rules! log {
    ($context:expr, $($words:tt)*) => {{
        let _context = $context;
    }};
}

pub(super) use log;
