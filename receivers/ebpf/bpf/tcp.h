/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* TCP connections: one event when one is established, one when it is closed, and a list of those that are open. */
#pragma once

#include "events.h"

static __always_inline void own(struct connection *connection)
{
	if (connection->tgid)
		return;
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	if (tgid == 0)
		return;
	connection->tgid = tgid;
	connection->cgroup = bpf_get_current_cgroup_id();
	process_is_wanted(tgid);
}

static __always_inline void read_tcp(const struct sock *sk, const struct connection *connection,
				     struct tcp_event *event)
{
	const struct tcp_sock *tcp = (const struct tcp_sock *)sk;
	event->role = connection->role;
	event->tgid = connection->tgid;
	event->time = bpf_ktime_get_ns();
	event->socket = (__u64)sk;
	event->started = connection->started;
	event->established = connection->established;
	event->cgroup = connection->cgroup;
	event->flags = connection->fresh ? FLAG_FRESH : 0;
	event->resets_received = connection->resets_received;
	event->resets_sent = connection->resets_sent;
	event->sent = BPF_CORE_READ(tcp, bytes_sent) - BPF_CORE_READ(tcp, bytes_retrans);
	event->received = BPF_CORE_READ(tcp, bytes_received);
	event->retransmits = BPF_CORE_READ(tcp, total_retrans);
	event->srtt_us = BPF_CORE_READ(tcp, srtt_us) >> 3;
	event->error = BPF_CORE_READ(sk, sk_err);
	read_ends(sk, &event->ends);
	if (!event->tgid && event->role != ROLE_CLIENT) {
		struct listener_key key = { event->ends.netns, event->ends.local_port };
		struct listener *listener = bpf_map_lookup_elem(&listeners, &key);
		if (listener) {
			event->role = ROLE_SERVER;
			event->tgid = listener->tgid;
			event->cgroup = listener->cgroup;
		}
	}
}

static __always_inline void tell(const struct sock *sk, const struct connection *connection, __u8 kind, __u8 before)
{
	struct tcp_event event = { .kind = kind, .before = before };
	read_tcp(sk, connection, &event);
	if (event.tgid == own_tgid || !port_is_wanted(&event.ends))
		return;
	if (bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_NO_WAKEUP))
		count(COUNT_TCP_LOST);
}

static __always_inline struct connection *begin(__u64 key, __u8 role)
{
	struct connection connection = { .started = bpf_ktime_get_ns(), .role = role, .fresh = 1 };
	if (role == ROLE_CLIENT)
		own(&connection);
	if (bpf_map_update_elem(&connections, &key, &connection, BPF_ANY))
		count(COUNT_CONNECTIONS_FULL);
	return bpf_map_lookup_elem(&connections, &key);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(weir_state, const struct sock *sk, int before, int after)
{
	if (!is_tcp(sk))
		return 0;
	__u64 key = (__u64)sk;
	if (after == STATE_LISTEN || before == STATE_LISTEN) {
		struct listener_key at = { BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum),
					   BPF_CORE_READ(sk, __sk_common.skc_num) };
		if (after == STATE_LISTEN) {
			struct listener listener = { .tgid = bpf_get_current_pid_tgid() >> 32 };
			listener.cgroup = bpf_get_current_cgroup_id();
			process_is_wanted(listener.tgid);
			bpf_map_update_elem(&listeners, &at, &listener, BPF_ANY);
		} else if (after == STATE_CLOSE) {
			bpf_map_delete_elem(&listeners, &at);
		}
	}
	if (after == STATE_SYN_SENT) {
		begin(key, ROLE_CLIENT);
		return 0;
	}
	if (after == STATE_SYN_RECV) {
		begin(key, ROLE_SERVER);
		return 0;
	}
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);
	if (after == STATE_ESTABLISHED) {
		if (!connection)
			connection = begin(key, before == STATE_SYN_RECV ? ROLE_SERVER : ROLE_CLIENT);
		if (!connection)
			return 0;
		connection->established = bpf_ktime_get_ns();
		tell(sk, connection, KIND_ESTABLISHED, before);
		return 0;
	}
	if (!connection)
		return 0;
	/* These steps are made by the process that closes it. */
	if (after != STATE_CLOSE) {
		if (after == 4 || after == 9)
			own(connection);
		return 0;
	}
	tell(sk, connection, KIND_CLOSED, before);
	bpf_map_delete_elem(&connections, &key);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(weir_reset_received, const struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);
	if (connection)
		connection->resets_received += 1;
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(weir_reset_sent, const struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);
	if (connection)
		connection->resets_sent += 1;
	return 0;
}

/* Every open socket, in every network namespace: how those fare, and who owns those of before the start. */
SEC("iter/task_file")
int weir_sockets(struct bpf_iter__task_file *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	if (!task || !file)
		return 0;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & 0170000) != 0140000)
		return 0;
	struct socket *socket = BPF_CORE_READ(file, private_data);
	struct sock *sk = BPF_CORE_READ(socket, sk);
	if (!sk || !is_tcp(sk))
		return 0;
	__u32 tgid = BPF_CORE_READ(task, tgid);
	__u64 cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	struct tcp_event event = { .kind = KIND_OPEN };
	struct connection late = { .tgid = tgid, .cgroup = cgroup };
	if (state == STATE_LISTEN) {
		struct listener_key key = { BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum),
					    BPF_CORE_READ(sk, __sk_common.skc_num) };
		struct listener listener = { .tgid = tgid, .cgroup = cgroup };
		bpf_map_update_elem(&listeners, &key, &listener, BPF_NOEXIST);
		event.kind = KIND_LISTENS;
	} else if (state == STATE_CLOSE || state == STATE_SYN_SENT) {
		return 0;
	} else if (tgid != own_tgid) {
		__u64 key = (__u64)sk;
		struct connection *known = bpf_map_lookup_elem(&connections, &key);
		if (!known) {
			late.started = bpf_ktime_get_ns();
			bpf_map_update_elem(&connections, &key, &late, BPF_NOEXIST);
		} else {
			if (!known->tgid) {
				known->tgid = tgid;
				known->cgroup = cgroup;
			}
			late = *known;
		}
	}
	if (tgid == own_tgid)
		return 0;
	read_tcp(sk, &late, &event);
	if (port_is_wanted(&event.ends))
		bpf_seq_write(seq, &event, sizeof(event));
	return 0;
}
