/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the programs tell the receiver, and the maps that they share with it. `src/kernel/event.rs` reads it. */
#pragma once

#include "kernel.h"

enum {
	KIND_DATA = 1,
	KIND_CLOSED = 2,
	KIND_ESTABLISHED = 3,
	KIND_OPEN = 4,
	KIND_LISTENS = 5,
	KIND_PROCESS = 6,
	KIND_EXIT = 7,
};

enum { DIRECTION_IN = 0, DIRECTION_OUT = 1 };
enum { ROLE_UNKNOWN = 0, ROLE_CLIENT = 1, ROLE_SERVER = 2 };
enum { PROCESS_SEEN = 1, PROCESS_DENIED = 2 };

enum { PROTOCOL_UNKNOWN = 0, PROTOCOL_HTTP1 = 1, PROTOCOL_HTTP2 = 2 };

/* Of an event of data: the connection is known from its first byte on. */
enum { FLAG_FRESH = 1 };

/* Most bytes of one read or write that are copied, less one. */
#define MOST_CAPTURED 0x3fff

struct ends {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u32 netns;
};

struct data_event {
	__u8 kind, direction, protocol, flags;
	__u32 captured;
	__u32 total;
	__u32 position;
	__u64 time;
	__u64 socket;
	__u64 started;
	__u32 tgid;
	__u32 tid;
	struct ends ends;
	__u8 data[MOST_CAPTURED + 1];
};

#define DATA_HEADER (sizeof(struct data_event) - MOST_CAPTURED - 1)

struct tcp_event {
	__u8 kind, role, before, flags;
	__u32 tgid;
	__u64 time;
	__u64 socket;
	__u64 started;
	__u64 established;
	__u64 cgroup;
	__u64 sent;
	__u64 received;
	__u32 retransmits;
	__u32 srtt_us;
	__s32 error;
	__u16 resets_received;
	__u16 resets_sent;
	struct ends ends;
};

struct process_event {
	__u8 kind, pad[3];
	__u32 tgid;
	__u64 time;
	__u64 cgroup;
	char comm[16];
	__s32 exit_code;
	__u32 more;
};

/* A connection that is open, by the address of its socket. */
struct connection {
	__u64 started;
	__u64 established;
	__u64 cgroup;
	__u32 tgid;
	__u8 role, protocol, fresh, pad;
	__u16 resets_received;
	__u16 resets_sent;
	__u32 pad2;
};

struct listener_key {
	__u32 netns;
	__u32 port;
};

struct listener {
	__u64 cgroup;
	__u32 tgid;
	__u32 pad;
};

enum {
	COUNT_DATA_LOST = 0,
	COUNT_TCP_LOST = 1,
	COUNT_PROCESS_LOST = 2,
	COUNT_CONNECTIONS_FULL = 3,
	COUNT_UNREADABLE = 4,
	COUNTERS = 8,
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct listener_key);
	__type(value, struct listener);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u32);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u16);
	__type(value, __u8);
} ports SEC(".maps");

/* The receiver itself, which is never looked at. */
const volatile __u32 own_tgid = 0;
/* Bytes copied of the beginning of a message. */
const volatile __u32 capture = 4096;
/* Whether only connections with one of `ports` are looked at. */
const volatile __u32 only_ports = 0;

static __always_inline void count(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &which);
	if (counter)
		*counter += 1;
}

static __always_inline int is_tcp(const struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	return (family == FAMILY_INET || family == FAMILY_INET6) && BPF_CORE_READ(sk, sk_protocol) == PROTOCOL_TCP;
}

static __always_inline void read_ends(const struct sock *sk, struct ends *ends)
{
	/* The number is given back before a connection is closed; the port stays. */
	ends->local_port = bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
	if (!ends->local_port)
		ends->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	ends->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	ends->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == FAMILY_INET) {
		__u32 local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		__u32 remote = BPF_CORE_READ(sk, __sk_common.skc_daddr);
		__builtin_memset(ends->local, 0, 16);
		__builtin_memset(ends->remote, 0, 16);
		ends->local[10] = ends->local[11] = ends->remote[10] = ends->remote[11] = 0xff;
		__builtin_memcpy(ends->local + 12, &local, 4);
		__builtin_memcpy(ends->remote + 12, &remote, 4);
	} else {
		BPF_CORE_READ_INTO(&ends->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&ends->remote, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	}
}

static __always_inline int port_is_wanted(const struct ends *ends)
{
	if (!only_ports)
		return 1;
	__u16 local = ends->local_port, remote = ends->remote_port;
	return bpf_map_lookup_elem(&ports, &local) || bpf_map_lookup_elem(&ports, &remote);
}

/* Tells about the current process when it is new. Whether it is to be looked at. */
static __always_inline int process_is_wanted(__u32 tgid)
{
	if (tgid == own_tgid)
		return 0;
	__u32 *known = bpf_map_lookup_elem(&processes, &tgid);
	if (known)
		return *known != PROCESS_DENIED;
	__u32 seen = PROCESS_SEEN;
	struct process_event event = { .kind = KIND_PROCESS, .tgid = tgid };
	event.time = bpf_ktime_get_ns();
	event.cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	if (bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_NO_WAKEUP))
		count(COUNT_PROCESS_LOST);
	else
		bpf_map_update_elem(&processes, &tgid, &seen, BPF_ANY);
	return 1;
}
