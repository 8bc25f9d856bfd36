//! The columns of each row struct.

use super::{Damage, Fields, LaterColumn, Parameters, Stored, Table};
use crate::model::{
    AllocatorKind, FrameKind, FrameRow, FreedRow, LiveRow, LossRow, MappingKind, MappingRow,
    MappingTotalsRow, ProcessOrigin, ProcessRow, SiteRow, SiteTimelineRow, SizeHistogramRow, StackRow,
    StateRow, ThreadRow, TimelineRow,
};

/// Name of an allocator's kind in `allocators.kind`.
pub(in crate::store) const fn allocator_kind_name(kind: AllocatorKind) -> &'static str {
    match kind {
        AllocatorKind::SimpleAllocator => "simple_allocator",
        AllocatorKind::SimpleDeallocator => "simple_deallocator",
        AllocatorKind::RangedAllocator => "ranged_allocator",
        AllocatorKind::RangedDeallocator => "ranged_deallocator",
    }
}

/// Place of a `losses.kind` among the others: what changes figures most comes first, what is unknown last.
pub(in crate::store) fn loss_rank(kind: &str) -> usize {
    ["lost", "degraded", "neutral"]
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(usize::MAX)
}

/// Implements [`Table`] and [`Stored`] from the fields of a struct in their order, each with how it is bound and read; the
/// column has the field's name but for `allocator`.
macro_rules! table {
    (
        $row:ident, $name:literal, replaces: $replaces:literal, { $($field:ident: $kind:ident),+ $(,)? }
        $(, later: $later:expr)? $(, since: $since:literal)?
    ) => {
        impl Table for $row {
            const NAME: &'static str = $name;
            $(const SINCE_VERSION: u32 = $since;)?
            const COLUMNS: &'static [&'static str] = &[$(column!($field)),+];
            $(const LATER_COLUMNS: &'static [LaterColumn] = $later;)?

            fn read(fields: &mut Fields<'_>) -> Result<Self, Damage> {
                Ok(Self { $($field: read!($kind, fields)),+ })
            }
        }

        impl Stored for $row {
            const REPLACES: bool = $replaces;

            fn bind(&self, parameters: &mut Parameters<'_, '_>) -> rusqlite::Result<()> {
                $(bind!($kind, parameters, self.$field);)+
                Ok(())
            }
        }
    };
}

macro_rules! column {
    (allocator) => {
        "allocator_id"
    };
    ($field:ident) => {
        stringify!($field)
    };
}

macro_rules! bind {
    (id, $parameters:expr, $value:expr) => {
        $parameters.integer($value)?
    };
    (small, $parameters:expr, $value:expr) => {
        $parameters.integer($value)?
    };
    (optional_id, $parameters:expr, $value:expr) => {
        $parameters.optional($value)?
    };
    (text, $parameters:expr, $value:expr) => {
        $parameters.text(&$value)?
    };
    (exit_status, $parameters:expr, $value:expr) => {
        match $value {
            Some(status) => $parameters.signed(i64::from(status))?,
            None => $parameters.null()?,
        }
    };
    (frame_kind, $parameters:expr, $value:expr) => {
        $parameters.text($value.name())?
    };
    (mapping_kind, $parameters:expr, $value:expr) => {
        $parameters.text($value.name())?
    };
    (process_origin, $parameters:expr, $value:expr) => {
        $parameters.text($value.name())?
    };
    ($kind:ident, $parameters:expr, $value:expr) => {
        $parameters.$kind($value)?
    };
}

macro_rules! read {
    (exit_status, $fields:expr) => {
        exit_status($fields)?
    };
    (frame_kind, $fields:expr) => {
        frame_kind($fields)?
    };
    (mapping_kind, $fields:expr) => {
        mapping_kind($fields)?
    };
    (process_origin, $fields:expr) => {
        process_origin($fields)?
    };
    ($kind:ident, $fields:expr) => {
        $fields.$kind()?
    };
}

fn exit_status(fields: &mut Fields<'_>) -> Result<Option<i32>, Damage> {
    let Some(value) = fields.optional_signed()? else {
        return Ok(None);
    };
    i32::try_from(value)
        .map(Some)
        .map_err(|_too_large| fields.damage(value.to_string()))
}

fn frame_kind(fields: &mut Fields<'_>) -> Result<FrameKind, Damage> {
    let name = fields.text()?;
    [FrameKind::Python, FrameKind::Native, FrameKind::Marker]
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| fields.damage(excerpt(&name)))
}

fn process_origin(fields: &mut Fields<'_>) -> Result<ProcessOrigin, Damage> {
    let name = fields.text()?;
    ProcessOrigin::ALL
        .into_iter()
        .find(|origin| origin.name() == name)
        .ok_or_else(|| fields.damage(excerpt(&name)))
}

fn mapping_kind(fields: &mut Fields<'_>) -> Result<MappingKind, Damage> {
    let name = fields.text()?;
    MappingKind::ALL
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| fields.damage(excerpt(&name)))
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

table!(ProcessRow, "processes", replaces: true, {
    process_id: id,
    pid: small,
    parent_process_id: optional_id,
    command_line: text,
    executable: text,
    python_version: text,
    python_allocator: text,
    started_ns: integer,
    ended_ns: optional,
    exit_status: exit_status,
    script_started_ns: optional,
    origin: process_origin,
}, later: &[LaterColumn {
    name: "origin",
    since_version: 2,
    // Until then a recording was of one program that it launched, and of what that became by exec.
    before: "CASE WHEN parent_process_id IS NULL THEN 'launched' ELSE 'executed' END",
}]);

table!(ThreadRow, "threads", replaces: true, {
    thread_id: id,
    process_id: id,
    tid: small,
    name: text,
});

table!(FrameRow, "frames", replaces: false, {
    frame_id: id,
    function: text,
    file: text,
    line: small,
    kind: frame_kind,
});

table!(StackRow, "stacks", replaces: false, {
    stack_id: id,
    parent_id: optional_id,
    frame_id: id,
    depth: small,
});

table!(SiteRow, "sites", replaces: true, {
    site_id: id,
    stack_id: id,
    thread_id: id,
    allocator: allocator,
    alloc_count: integer,
    alloc_bytes: integer,
    live_count: integer,
    live_bytes: integer,
    temp_count: integer,
    temp_bytes: integer,
    peak_count: integer,
    peak_bytes: integer,
    peak_epoch: integer,
});

table!(FreedRow, "freed_allocations", replaces: false, {
    alloc_ts: integer,
    free_ts: integer,
    size: integer,
    stack_id: id,
    thread_id: id,
    allocator: allocator,
    allocations_between: integer,
});

table!(LiveRow, "live_allocations", replaces: false, {
    allocation_id: integer,
    alloc_ts: integer,
    size: integer,
    stack_id: id,
    thread_id: id,
    allocator: allocator,
    address: integer,
});

table!(TimelineRow, "timeline", replaces: false, {
    process_id: id,
    ts: integer,
    live_bytes: integer,
    live_count: integer,
    max_bytes: integer,
    alloc_count: integer,
    alloc_bytes: integer,
    free_count: integer,
    free_bytes: integer,
    rss_bytes: optional,
    rss_anon_bytes: optional,
    rss_file_bytes: optional,
    rss_shmem_bytes: optional,
    mapped_reserved_bytes: optional,
    mapped_file_bytes: optional,
    mapped_shared_file_bytes: optional,
    mapped_stack_bytes: optional,
}, later: &[
    unknown_before_3("rss_anon_bytes"),
    unknown_before_3("rss_file_bytes"),
    unknown_before_3("rss_shmem_bytes"),
    unknown_before_3("mapped_reserved_bytes"),
    unknown_before_3("mapped_file_bytes"),
    unknown_before_3("mapped_shared_file_bytes"),
    unknown_before_3("mapped_stack_bytes"),
]);

const fn unknown_before_3(name: &'static str) -> LaterColumn {
    LaterColumn {
        name,
        since_version: 3,
        before: "NULL",
    }
}

table!(MappingRow, "mappings", replaces: true, {
    mapping_id: integer,
    process_id: id,
    thread_id: id,
    stack_id: id,
    kind: mapping_kind,
    address: integer,
    size: integer,
    mapped_ts: integer,
    unmapped_ts: optional,
}, since: 3);

table!(MappingTotalsRow, "mapping_totals", replaces: true, {
    process_id: id,
    kind: mapping_kind,
    map_count: integer,
    map_bytes: integer,
    live_count: integer,
    live_bytes: integer,
    highest_bytes: integer,
    highest_ts: integer,
    heap_peak_bytes: integer,
}, since: 3);

table!(SiteTimelineRow, "site_timeline", replaces: false, {
    ts: integer,
    site_id: id,
    alloc_count: integer,
    alloc_bytes: integer,
    free_count: integer,
    free_bytes: integer,
});

table!(SizeHistogramRow, "size_histogram", replaces: true, {
    process_id: id,
    size_from: integer,
    size_to: integer,
    allocator: allocator,
    alloc_count: integer,
    alloc_bytes: integer,
});

table!(StateRow, "state", replaces: true, {
    process_id: id,
    last_ts: integer,
    alloc_count: integer,
    alloc_bytes: integer,
    free_count: integer,
    live_count: integer,
    live_bytes: integer,
    peak_bytes: integer,
    peak_count: integer,
    peak_ts: integer,
    peak_epoch: integer,
    min_size: integer,
    max_size: integer,
    startup_count: integer,
    startup_bytes: integer,
});

table!(LossRow, "losses", replaces: false, {
    process_id: optional_id,
    reason: text,
    kind: text,
    events: integer,
    bytes: integer,
    description: text,
});

/// A row of `meta`.
impl Table for (String, String) {
    const NAME: &'static str = "meta";
    const COLUMNS: &'static [&'static str] = &["key", "value"];

    fn read(fields: &mut Fields<'_>) -> Result<Self, Damage> {
        Ok((fields.text()?, fields.text()?))
    }
}

impl Stored for (String, String) {
    const REPLACES: bool = true;

    fn bind(&self, parameters: &mut Parameters<'_, '_>) -> rusqlite::Result<()> {
        parameters.text(&self.0)?;
        parameters.text(&self.1)
    }
}
