package iptables

import (
	"fmt"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
)

// The LOG target prints both ports of every packet (nf_log_dump_tcp_header and
// nf_log_dump_udp_header, net/netfilter/nf_log_syslog.c), so that logging a
// knock would print the knock. With events = "kernel" an event is noted in a
// list, OWED, and told at the next packet of the source to a hidden service, whose
// port is never a knock. With events = "nflog" it is told at once, cut off before
// the ports (--nflog-size), but for a wrong packet: there are many places to be
// sent back from, and the kernel's check of a ruleset follows every way through
// the chains, so that these rules lead nowhere but where they led.
//
// What is told is limited for each source by a list, TOLD, and for each kind. A
// hashlimit table would drop the packets that it has no room for (hotdrop,
// net/netfilter/xt_hashlimit.c); a full list only forgets its oldest source.

// Chains of events.
const (
	opened   = main + "_OPENED"
	accepted = main + "_ACCEPTED"
	begun    = main + "_BEGUN"
	limited  = main + "_LIMITED"
	owed     = main + "_OWED"
)

const (
	// owedTime is how long a source has to come to a hidden service for its event
	// to be told. Of what it has opened it is until the door is shut.
	owedTime = 30 * time.Second
	// Of IPv4 the header without options, of IPv6 the fixed header: no ports.
	headerSize4, headerSize6 = 20, 40
	portsSize                = 4
)

func (b *builder) tells() bool { return b.g.Events != policy.NoEvents }

// defers says whether events wait for a packet that may be logged.
func (b *builder) defers() bool { return b.g.Events == policy.KernelEvents }

// letIn is the target of what a door lets in.
func (b *builder) letIn() string {
	if b.tells() {
		return "-g " + accepted
	}
	return b.pass
}

// unheard is the target of a packet whose source has an empty bucket.
func (b *builder) unheard() string {
	if b.tells() {
		return "-g " + limited
	}
	return b.end
}

// lost notes that a source has lost its progress. It always matches.
func (b *builder) lost() string {
	if b.tells() {
		return b.recent("--set", b.owedList(backend.EventWrong), b.sourceMask())
	}
	return ""
}

// opening is a rule that opens a door.
type opening struct {
	chain string
	rule  int
	door  int
}

// opensAt notes that the next rule of a chain opens a door, if d is one.
func (b *builder) opensAt(chain string, d *automaton.Door) {
	if d != nil {
		rule := len(b.chains[b.index[chain]].rules)
		b.opens = append(b.opens, opening{chain, rule, b.g.Places[d.End].Door})
	}
}

// events writes the chains. The first rule of each counts, but for wrong packets,
// which the rules that note them count.
func (b *builder) events() {
	if !b.tells() {
		return
	}
	happens := func(chain, kind string) {
		b.chain(chain)
		b.rule(chain, "", "", "how often: "+kind)
		if b.defers() {
			b.rule(chain, b.recent("--set", b.owedList(kind), b.sourceMask()), "", "to be told at a packet whose port is no knock")
		} else {
			b.tell(chain, "", kind, 0)
		}
	}
	happens(opened, backend.EventOpened)
	b.rule(opened, "", b.end, "goes on as any other packet")
	happens(limited, backend.EventLimited)
	b.rule(limited, "", b.end, "not heard")

	b.chain(accepted)
	b.rule(accepted, "", "", "how often: "+backend.EventAccepted)
	if b.defers() {
		b.rule(accepted, b.owing(backend.EventOpened, b.openTime()), "-g "+begun, "the first since it was opened")
	}
	b.tell(accepted, "", backend.EventAccepted, portsSize)
	b.rule(accepted, "", b.pass, "let in")
	if b.defers() {
		b.chain(begun)
		b.rule(begun, b.recent("--remove", b.owedList(backend.EventOpened), b.sourceMask()), "", "it is told")
		b.tell(begun, "", backend.EventOpened, portsSize)
		b.rule(begun, "", b.pass, "let in")
	}
	b.chain(owed)
	done := b.owing(backend.EventWrong, owedTime) + " " + b.recent("--remove", b.owedList(backend.EventWrong), b.sourceMask())
	b.tell(owed, done, backend.EventWrong, portsSize)
	if b.defers() {
		b.tell(owed, b.owing(backend.EventLimited, owedTime), backend.EventLimited, portsSize)
	}
}

func (b *builder) owedList(kind string) string { return b.list("OWED_" + kind) }

// owing matches a source of which an event is to be told.
func (b *builder) owing(kind string, within time.Duration) string {
	return b.recent(fmt.Sprintf("--rcheck --seconds %d", within/time.Second), b.owedList(kind), b.sourceMask())
}

// openTime is as long as any door may be open.
func (b *builder) openTime() time.Duration {
	long := max(owedTime, b.g.StepTimeout)
	for _, d := range b.g.OpenTimes() {
		long = max(long, d)
	}
	return long
}

// tell logs a packet that match matches as an event, and of it so much behind the
// header.
func (b *builder) tell(chain, match, kind string, beyond int) {
	often := "! --rcheck --seconds 60 --hitcount 6"
	if kind == backend.EventLimited {
		often = "! --rcheck --seconds 30"
	}
	list := b.list("TOLD_" + kind)
	match += " " + b.recent(often, list, b.bucketMask()) +
		" -m limit --limit 10/sec --limit-burst 50 " + b.recent("--set", list, b.bucketMask())
	target := fmt.Sprintf(`-j LOG --log-level info --log-prefix "%s%s: "`, backend.EventPrefix, kind)
	if !b.defers() {
		size := headerSize4
		if b.fam.v6 {
			size = headerSize6
		}
		target = fmt.Sprintf(`-j NFLOG --nflog-prefix "%s%s: " --nflog-group %d --nflog-size %d`,
			backend.EventPrefix, kind, backend.EventGroup, size+beyond)
	}
	b.rule(chain, match, target, "not too often")
}
