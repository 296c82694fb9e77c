/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Processes: forgotten when they execute another program or end. */
#pragma once

#include "events.h"

SEC("tp_btf/sched_process_exec")
int BPF_PROG(weir_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_map_delete_elem(&processes, &tgid);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(weir_exit, struct task_struct *task)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tgid = id >> 32;
	/* The last thread of a process may be another, but then the process is of no use either. */
	if (tgid != (__u32)id || !bpf_map_lookup_elem(&processes, &tgid))
		return 0;
	bpf_map_delete_elem(&processes, &tgid);
	struct process_event event = { .kind = KIND_EXIT, .tgid = tgid };
	event.time = bpf_ktime_get_ns();
	event.exit_code = BPF_CORE_READ(task, exit_code);
	if (bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_NO_WAKEUP))
		count(COUNT_PROCESS_LOST);
	return 0;
}

/* The kernel's clock, to be compared with the machine's. */
SEC("iter/bpf_map")
int weir_clock(struct bpf_iter__bpf_map *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	struct seq_file *seq = ctx->meta->seq;
	if (ctx->meta->seq_num == 0)
		bpf_seq_write(seq, &now, sizeof(now));
	return 0;
}
