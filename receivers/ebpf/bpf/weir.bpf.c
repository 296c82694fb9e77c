/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The programs of the `ebpf` receiver, as one object. */
#include "events.h"
#include "tcp.h"
#include "process.h"
#include "calls.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
