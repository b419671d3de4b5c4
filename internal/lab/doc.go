// Package lab makes private networks out of Linux network namespaces, for tests,
// for the demo and for benchmarks. Nothing in it touches the network of the host.
//
// A namespace is held by a file descriptor and a thread of this process, never
// by a name or by a helper process. When this process ends, in whatever way, the
// kernel removes the namespace with its devices, rules and connections
// (network_namespaces(7)). There is nothing to clean up.
//
// It needs CAP_SYS_ADMIN, or a kernel that lets users make user namespaces: see
// [Reexec].
package lab
