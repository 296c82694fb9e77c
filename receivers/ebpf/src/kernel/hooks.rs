//! The places in the kernel that programs are attached to: the table of `weir ebpf check`.

use std::fmt::Write;

/// A place, the program there, and what is lost without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// The function in `bpf/`.
    pub(crate) program: &'static str,
    /// The name of the place in the kernel.
    pub(crate) place: &'static str,
    pub(crate) kind: HookKind,
    pub(crate) feature: Feature,
    pub(crate) lost: &'static str,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookKind {
    /// A tracepoint with the kernel's own types; needs no tracefs.
    Tracepoint,
    /// An iterator, read as a file.
    Iterator,
}

/// What a hook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Everything.
    Base,
    /// `tcp`.
    Tcp,
    /// `http`.
    Http,
}

impl HookKind {
    fn name(self) -> &'static str {
        match self {
            HookKind::Tracepoint => "tp_btf",
            HookKind::Iterator => "iter",
        }
    }
}

const fn hook(
    program: &'static str,
    place: &'static str,
    kind: HookKind,
    feature: Feature,
    lost: &'static str,
) -> Hook {
    Hook { program, place, kind, feature, lost }
}

/// Every hook.
pub(crate) const HOOKS: [Hook; 9] = [
    hook("weir_clock", "bpf_map", HookKind::Iterator, Feature::Base, "everything: times cannot be compared"),
    hook(
        "weir_state",
        "inet_sock_set_state",
        HookKind::Tracepoint,
        Feature::Base,
        "everything: connections are not known",
    ),
    hook(
        "weir_sockets",
        "task_file",
        HookKind::Iterator,
        Feature::Base,
        "connections from before the start, and figures of open ones",
    ),
    hook(
        "weir_exec",
        "sched_process_exec",
        HookKind::Tracepoint,
        Feature::Base,
        "new names of processes that execute another program",
    ),
    hook("weir_exit", "sched_process_exit", HookKind::Tracepoint, Feature::Base, "the ends of processes"),
    hook("weir_reset_received", "tcp_receive_reset", HookKind::Tracepoint, Feature::Tcp, "resets received"),
    hook("weir_reset_sent", "tcp_send_reset", HookKind::Tracepoint, Feature::Tcp, "resets sent"),
    hook("weir_enter", "sys_enter", HookKind::Tracepoint, Feature::Http, "requests"),
    hook("weir_leave", "sys_exit", HookKind::Tracepoint, Feature::Http, "requests"),
];

/// A hook and whether its program runs there: `Err` says why it does not.
pub(crate) type Tried = (Hook, Result<(), String>);

/// The table of `weir ebpf check`.
pub(crate) fn table(tried: &[Tried]) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{:<8} {:<22} {:<5} what is lost, and why", "kind", "hook", "state");
    for (hook, outcome) in tried {
        let (state, rest) = match outcome {
            Ok(()) => ("ok", String::new()),
            Err(reason) => ("no", format!("{}: {reason}", hook.lost)),
        };
        let line = format!("{:<8} {:<22} {state:<5} {rest}", hook.kind.name(), hook.place);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Whether what a feature cannot do without runs.
pub(crate) fn works(tried: &[Tried], feature: Feature) -> Result<(), String> {
    let needed: &[&str] = match feature {
        Feature::Base => &["weir_clock", "weir_state"],
        Feature::Tcp => &[],
        Feature::Http => &["weir_enter", "weir_leave"],
    };
    for (hook, outcome) in tried {
        if let Err(reason) = outcome
            && needed.contains(&hook.program)
        {
            return Err(format!("{}: {reason}", hook.place));
        }
    }
    Ok(())
}
