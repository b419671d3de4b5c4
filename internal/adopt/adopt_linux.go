// Package adopt makes connection tracking take on the TCP connections that were
// open before it was watching, so that a firewall which accepts established
// flows and drops the rest does not cut them.
//
// The kernel tracks nothing in a network namespace until a rule there uses
// conntrack (nf_ct_netns_get, net/netfilter/nf_conntrack_proto.c). Once one
// does, the next segment of a connection that was open before counts as NEW if
// the client sends it, and firewall mode refuses it; that it is INVALID where
// nf_conntrack_tcp_loose is 0 comes to the same. Guard mode needs none of
// this: only a SYN is ever refused there.
package adopt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tirl/internal/port"
	"tirl/internal/procnet"
)

// tellErrors is how many connections that could not be adopted an error names.
const tellErrors = 3

// defaultTimeout is nf_conntrack_tcp_timeout_established as it comes with the
// kernel, in seconds: five days.
const defaultTimeout = 432000

// Adopt gives every open TCP connection of this network namespace, that of the
// calling thread, an entry in the conntrack table as of an established flow,
// in whichever direction it was opened. Connections that conntrack knows are
// left as they are; those that it has picked up half-way, with no answer seen,
// become established. Connections on the loopback device are left out. It gives
// the number of entries made or mended, along with what went wrong with others.
//
// It belongs before a load and after it. Before: with refuse = "reset" the
// first segment that meets the rules without an entry ends its connection, and
// whoever is killed between the load and what follows leaves connections dead.
// Entries can be made before conntrack is active, and wait. After: a connection
// that began in between, in a namespace where conntrack was not active, is not
// known yet; with refuse = "drop" what it has sent meanwhile is sent again.
//
// Window tracking is off for an adopted flow, as it is for one that the kernel
// picks up half-way (tcp_new in net/netfilter/nf_conntrack_proto_tcp.c). Hosts
// that put flows into conntrack zones are not served: entries are made in zone 0.
func Adopt(ctx context.Context) (n int, err error) {
	root := os.DirFS("/")
	sockets, err := procnet.Read(root, procnet.OfThread, port.TCP)
	if err != nil {
		return 0, err
	}
	flows := open(sockets)
	if len(flows) == 0 {
		return 0, nil
	}
	table, err := newTable(timeout(root))
	if err != nil {
		return 0, fmt.Errorf("adopt open connections: %w", err)
	}
	defer table.close()
	var errs []error
	for _, f := range flows {
		if err := ctx.Err(); err != nil {
			return n, errors.Join(append(errs, err)...)
		}
		done, err := table.adopt(f)
		if err != nil {
			errs = append(errs, fmt.Errorf("adopt the connection of %s and %s: %w", f.from, f.to, err))
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EAGAIN) {
				break // not permitted, or no answer: it is the same for all
			}
		}
		if done {
			n++
		}
	}
	return n, brief(errs)
}

// brief keeps the first errors of many.
func brief(errs []error) error {
	if more := len(errs) - tellErrors; more > 0 {
		errs = append(errs[:tellErrors:tellErrors], fmt.Errorf("and %d connections more", more))
	}
	return errors.Join(errs...)
}

// flow is a connection in the direction in which it was opened.
type flow struct {
	from, to netip.AddrPort
}

// open picks the connections that still carry data in some direction. Where a
// port listens, the other side has opened the connection.
func open(sockets []procnet.Socket) []flow {
	listens := make(map[uint16]bool)
	for _, s := range sockets {
		if s.State == procnet.Listen {
			listens[s.Local.Port()] = true
		}
	}
	seen := make(map[flow]bool)
	var flows []flow
	for _, s := range sockets {
		switch s.State {
		case procnet.Established, procnet.FinWait1, procnet.FinWait2, procnet.CloseWait:
		default:
			continue
		}
		if s.Local.Addr().IsLoopback() || s.Local.Addr() == s.Remote.Addr() {
			continue // what has come in by lo is accepted
		}
		f := flow{s.Local, s.Remote}
		if listens[s.Local.Port()] {
			f = flow{s.Remote, s.Local}
		}
		if !seen[f] {
			seen[f] = true
			flows = append(flows, f)
		}
	}
	return flows
}

// timeout gives how many seconds an established flow may be idle.
func timeout(root fs.FS) uint32 {
	text, err := fs.ReadFile(root, "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
	if err != nil {
		return defaultTimeout
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil || n == 0 {
		return defaultTimeout
	}
	return uint32(n)
}
