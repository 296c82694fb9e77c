/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The few fields of the kernel's structures that the programs read. The loader moves every access to where the
 * running kernel has the field (CO-RE), so the order here means nothing.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define RELOCATED __attribute__((preserve_access_index))

enum { FAMILY_INET = 2, FAMILY_INET6 = 10, PROTOCOL_TCP = 6 };

enum {
	STATE_ESTABLISHED = 1,
	STATE_SYN_SENT = 2,
	STATE_SYN_RECV = 3,
	STATE_CLOSE = 7,
	STATE_LISTEN = 10,
};

struct ns_common {
	unsigned int inum;
} RELOCATED;

struct net {
	struct ns_common ns;
} RELOCATED;

typedef struct {
	struct net *net;
} RELOCATED possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
} RELOCATED;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} RELOCATED;

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	int sk_err;
} RELOCATED;

struct inet_sock {
	__be16 inet_sport;
} RELOCATED;

struct tcp_sock {
	__u32 copied_seq;
	__u32 write_seq;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u32 total_retrans;
	__u32 srtt_us;
} RELOCATED;

struct socket {
	short type;
	struct sock *sk;
} RELOCATED;

struct inode {
	unsigned short i_mode;
} RELOCATED;

struct file {
	struct inode *f_inode;
	void *private_data;
} RELOCATED;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} RELOCATED;

struct files_struct {
	struct fdtable *fdt;
} RELOCATED;

struct kernfs_node {
	__u64 id;
} RELOCATED;

struct cgroup {
	struct kernfs_node *kn;
} RELOCATED;

struct css_set {
	struct cgroup *dfl_cgrp;
} RELOCATED;

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct files_struct *files;
	struct css_set *cgroups;
	int exit_code;
} RELOCATED;

struct sk_buff;
struct linux_binprm;

/* Of the iterators. */
struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
} RELOCATED;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
} RELOCATED;

struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
} RELOCATED;

/* The registers of a system call, as the interface of the kernel has them. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx, r10, r8, r9, orig_ax;
} RELOCATED;
#define FIRST_ARGUMENT(regs) BPF_CORE_READ(regs, di)
#define ARGUMENT2(regs) BPF_CORE_READ(regs, si)
#define ARGUMENT3(regs) BPF_CORE_READ(regs, dx)
#define ARGUMENT4(regs) BPF_CORE_READ(regs, r10)
#define CALL_NUMBER(regs) BPF_CORE_READ(regs, orig_ax)
enum {
	CALL_READ = 0, CALL_WRITE = 1, CALL_READV = 19, CALL_WRITEV = 20, CALL_SENDFILE = 40, CALL_SENDTO = 44,
	CALL_RECVFROM = 45, CALL_SENDMSG = 46, CALL_RECVMSG = 47,
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	__u64 regs[31];
	__u64 orig_x0;
	int syscallno;
} RELOCATED;
/* The register itself has the result at the end of a call. */
#define FIRST_ARGUMENT(regs) BPF_CORE_READ(regs, orig_x0)
#define ARGUMENT2(regs) BPF_CORE_READ(regs, regs[1])
#define ARGUMENT3(regs) BPF_CORE_READ(regs, regs[2])
#define ARGUMENT4(regs) BPF_CORE_READ(regs, regs[3])
#define CALL_NUMBER(regs) BPF_CORE_READ(regs, syscallno)
enum {
	CALL_READ = 63, CALL_WRITE = 64, CALL_READV = 65, CALL_WRITEV = 66, CALL_SENDFILE = 71, CALL_SENDTO = 206,
	CALL_RECVFROM = 207, CALL_SENDMSG = 211, CALL_RECVMSG = 212,
};
#else
#error "no system calls are known for this architecture"
#endif
