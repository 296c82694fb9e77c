/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What processes write to and read from their TCP connections: the beginning of each piece, its place in the
 * stream and its size. What is missing (a copy that did not fit, `sendfile`, io_uring) shows as a gap.
 */
#pragma once

#include "events.h"

/* Pieces of one call that are told. */
enum { PIECES = 64 };
enum { FORM_BUFFER, FORM_VECTOR, FORM_MESSAGE, FORM_FILE };
enum { FLAG_PEEK = 0x2, FLAG_TRUNC = 0x20 };

struct user_vector {
	__u64 base;
	__u64 len;
};

struct user_message {
	__u64 name;
	__u32 namelen, pad;
	__u64 vector;
	__u64 vectorlen;
};

/* What a call moves. */
struct call {
	struct sock *sk;
	__u64 buffer;
	__u64 pieces;
	__u32 position;
	__u32 form;
};

/* Where events are put together: of the beginning of a call, and of its end. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct data_event);
} scratch SEC(".maps");

static __always_inline struct sock *socket_of(unsigned int fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = task->files ? task->files->fdt : 0;
	if (!table || fd >= table->max_fds)
		return 0;
	struct file **files = table->fd, *file = 0;
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	if (!file)
		return 0;
	/* Of another file this is no socket, and so in no map. */
	struct socket *socket = BPF_CORE_READ(file, private_data);
	return socket ? BPF_CORE_READ(socket, sk) : 0;
}

/* The protocol that begins with these bytes. */
static __always_inline __u8 protocol_of(__u64 first)
{
	switch ((__u32)first) {
	case 0x20544547: /* "GET " */
	case 0x54534f50: /* "POST" */
	case 0x20545550: /* "PUT " */
	case 0x44414548: /* "HEAD" */
	case 0x454c4544: /* "DELE" */
	case 0x4954504f: /* "OPTI" */
	case 0x43544150: /* "PATC" */
	case 0x4e4e4f43: /* "CONN" */
	case 0x43415254: /* "TRAC" */
	case 0x50545448: /* "HTTP" */
		return PROTOCOL_HTTP1;
	case 0x20495250: /* "PRI " */
		return PROTOCOL_HTTP2;
	}
	return PROTOCOL_UNKNOWN;
}

/* Tells about one piece of the event in `scratch[which]`, and moves its position behind it. Not static: so the
 * kernel checks it once, and not for each turn of the loop that calls it. */
__attribute__((noinline)) int tell_piece(__u64 key, __u32 which, __u64 address, __u64 len)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);
	struct data_event *event = bpf_map_lookup_elem(&scratch, &which);
	if (!connection || !event)
		return 0;
	__u64 first = 0;
	__u8 protocol = PROTOCOL_UNKNOWN;
	if (address && len >= 4 && !bpf_probe_read_user(&first, len < 8 ? 4 : 8, (void *)address))
		protocol = protocol_of(first);
	if (protocol && !connection->protocol)
		connection->protocol = protocol;
	if (!connection->protocol)
		return 0;
	__u64 copied = len;
	/* A large piece in the middle is a body: only how it is divided can matter. */
	__u64 most = protocol || len <= 4096 ? capture : 256;
	/* Here every frame matters. */
	if (connection->protocol == PROTOCOL_HTTP2)
		most = MOST_CAPTURED;
	if (copied > most)
		copied = most;
	if (!address)
		copied = 0;
	if (copied > MOST_CAPTURED)
		copied = MOST_CAPTURED;
	barrier_var(copied);
	copied &= MOST_CAPTURED;
	if (copied && bpf_probe_read_user(event->data, copied, (void *)address)) {
		count(COUNT_UNREADABLE);
		copied = 0;
	}
	event->captured = copied;
	event->total = len;
	event->protocol = connection->protocol;
	copied &= MOST_CAPTURED;
	if (bpf_ringbuf_output(&events, event, DATA_HEADER + copied, BPF_RB_NO_WAKEUP))
		count(COUNT_DATA_LOST);
	event->position += (__u32)len;
	return 0;
}

/* Tells about what a call has moved: `moved` bytes from `position` on. */
static __always_inline void tell_call(__u32 which, __u8 direction, const struct call *call, __u64 moved)
{
	__u64 key = (__u64)call->sk;
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);
	struct data_event *event = bpf_map_lookup_elem(&scratch, &which);
	if (!connection || !event)
		return;
	__u64 id = bpf_get_current_pid_tgid();
	if (!connection->tgid) {
		connection->tgid = id >> 32;
		connection->cgroup = bpf_get_current_cgroup_id();
	}
	event->kind = KIND_DATA;
	event->direction = direction;
	event->flags = connection->fresh ? FLAG_FRESH : 0;
	event->position = call->position;
	event->time = bpf_ktime_get_ns();
	event->socket = key;
	event->started = connection->started;
	event->tgid = id >> 32;
	event->tid = id;
	read_ends(call->sk, &event->ends);
	if (!port_is_wanted(&event->ends))
		return;
	if (call->form == FORM_FILE) {
		tell_piece(key, which, 0, moved);
		return;
	}
	__u64 left = moved, index = 0;
	struct user_vector vector = { call->buffer, moved };
	int is_vector = call->form != FORM_BUFFER;
	if (is_vector)
		vector.len = 0;
	for (int at = 0; at < PIECES; at++) {
		if (!left)
			break;
		if (!vector.len) {
			if (!is_vector || index >= call->pieces)
				break;
			if (bpf_probe_read_user(&vector, sizeof(vector), (void *)(call->buffer + index * sizeof(vector)))) {
				count(COUNT_UNREADABLE);
				break;
			}
			index++;
			if (!vector.len)
				continue;
		}
		__u64 len = vector.len < left ? vector.len : left;
		if (connection->protocol == PROTOCOL_HTTP2 && len > MOST_CAPTURED)
			len = MOST_CAPTURED;
		tell_piece(key, which, vector.base, len);
		vector.base += len;
		vector.len -= len;
		left -= len;
	}
}

/* The vector of a call that names one, and the bytes in it. */
static __always_inline __u64 vector_of(struct call *call)
{
	if (call->form == FORM_MESSAGE) {
		struct user_message message = {};
		if (bpf_probe_read_user(&message, sizeof(message), (void *)call->buffer))
			return 0;
		call->buffer = message.vector;
		call->pieces = message.vectorlen;
	}
	__u64 bytes = 0;
	for (int at = 0; at < PIECES; at++) {
		struct user_vector vector = {};
		if (at >= call->pieces ||
		    bpf_probe_read_user(&vector, sizeof(vector), (void *)(call->buffer + at * sizeof(vector))))
			break;
		bytes += vector.len;
	}
	return bytes;
}

/* The socket of the call's first argument, when it is one that is looked at. */
static __always_inline struct sock *wanted_socket(struct pt_regs *regs)
{
	struct sock *sk = socket_of(FIRST_ARGUMENT(regs));
	__u64 key = (__u64)sk;
	if (!sk || !bpf_map_lookup_elem(&connections, &key))
		return 0;
	return process_is_wanted(bpf_get_current_pid_tgid() >> 32) ? sk : 0;
}

/* Writes are told when they begin: what is written a second time, because the first time it was not taken, has
 * the same position. */
SEC("tp_btf/sys_enter")
int BPF_PROG(weir_enter, struct pt_regs *regs, long number)
{
	struct call call = { .form = FORM_BUFFER };
	/* Not through `call`: its fields are ours, and the loader would look for them in the kernel. */
	struct tcp_sock *tcp;
	switch (number) {
	case CALL_WRITE: case CALL_SENDTO: break;
	case CALL_WRITEV: call.form = FORM_VECTOR; break;
	case CALL_SENDMSG: call.form = FORM_MESSAGE; break;
	default: return 0;
	}
	call.sk = wanted_socket(regs);
	if (!call.sk)
		return 0;
	tcp = (struct tcp_sock *)call.sk;
	call.buffer = ARGUMENT2(regs);
	call.pieces = ARGUMENT3(regs);
	call.position = BPF_CORE_READ(tcp, write_seq);
	__u64 bytes = call.form == FORM_BUFFER ? call.pieces : vector_of(&call);
	if (bytes)
		tell_call(0, DIRECTION_OUT, &call, bytes);
	return 0;
}

/* Reads are told when they end, also those that began before the programs ran. */
SEC("tp_btf/sys_exit")
int BPF_PROG(weir_leave, struct pt_regs *regs, long result)
{
	if (result <= 0)
		return 0;
	struct call call = { .form = FORM_BUFFER };
	struct tcp_sock *tcp;
	long number = CALL_NUMBER(regs);
	switch (number) {
	case CALL_READ: case CALL_RECVFROM: break;
	case CALL_READV: call.form = FORM_VECTOR; break;
	case CALL_RECVMSG: call.form = FORM_MESSAGE; break;
	case CALL_SENDFILE: call.form = FORM_FILE; break;
	default: return 0;
	}
	call.sk = wanted_socket(regs);
	if (!call.sk)
		return 0;
	tcp = (struct tcp_sock *)call.sk;
	if (call.form == FORM_FILE) {
		call.position = BPF_CORE_READ(tcp, write_seq) - (__u32)result;
		tell_call(1, DIRECTION_OUT, &call, result);
		return 0;
	}
	/* What is only looked at is read later; what is thrown away is not there. */
	if (number == CALL_RECVFROM && (ARGUMENT4(regs) & (FLAG_PEEK | FLAG_TRUNC)))
		return 0;
	call.buffer = ARGUMENT2(regs);
	call.pieces = ARGUMENT3(regs);
	if (call.form == FORM_MESSAGE) {
		if (call.pieces & (FLAG_PEEK | FLAG_TRUNC))
			return 0;
		vector_of(&call);
	}
	call.position = BPF_CORE_READ(tcp, copied_seq) - (__u32)result;
	tell_call(1, DIRECTION_IN, &call, result);
	return 0;
}
