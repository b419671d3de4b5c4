// Package knockd reads the configuration of knockd, version 0.8, exactly as
// knockd does, and knows how knockd matches packets. It is pure.
package knockd

import (
	"time"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// What knockd takes where a file says nothing, and its bounds (knockd(1) and the
// constants of its source).
const (
	DefaultInterface  = "eth0"
	DefaultSeqTimeout = 25 * time.Second
	DefaultCmdTimeout = 10 * time.Second
	MaxSequence       = 32
	MaxCommand        = 4095 // with the address filled in; of more nothing is run
)

// Address is what knockd replaces in a command by the client's address.
const Address = "%IP%"

// Config is a configuration file.
type Config struct {
	Source  policy.Source
	Options []Setting // of all [options] sections
	Doors   []*Door   // in the order of the file; names may repeat

	Interface *Setting // nil: DefaultInterface
	LogFile   *Setting
	PidFile   *Setting
	Syslog    bool
}

// Setting is one directive as it is written. Offsets are those of the file.
type Setting struct {
	Key  string // in capitals, as knockd compares it
	Text string // the value, trimmed
	At   int    // offset of the value, or of the key if there is no value
	From int    // offset of the key
	Line int
	Raw  string // the whole line, trimmed
	Used bool   // no later directive takes its place
}

// Door is a section other than [options].
type Door struct {
	Name     string
	At, Line int       // of the section's header
	Settings []Setting // in the order of the file
	End      int       // the last line that belongs to it

	Sequence   []Knock
	SequenceAt int
	OneTime    *Setting // a file of sequences
	SeqTimeout time.Duration
	CmdTimeout time.Duration
	Flags      Flags
	FlagsAt    int // below 0: there is no tcpflags
	Target     *Setting

	// Nil is different from an empty value: without a command for IPv6 the other
	// one runs there too.
	Start, Start6, Stop, Stop6 *Setting
}

// Knock is one step of a sequence.
type Knock struct {
	port.Port // the number may be 0
	At        int
	Text      string // as written
}

// Flags are the TCP flags that a packet must and must not have.
type Flags struct{ Set, Clear uint8 }

// Match says whether a TCP packet with these flags counts.
func (f Flags) Match(flags uint8) bool { return flags&f.Set == f.Set && flags&f.Clear == 0 }

// StartFor gives the command that is run for a client of a family: nil if none is.
func (d *Door) StartFor(ipv6 bool) *Setting { return choose(d.Start, d.Start6, ipv6) }

// StopFor gives the command that is run CmdTimeout after the start.
func (d *Door) StopFor(ipv6 bool) *Setting { return choose(d.Stop, d.Stop6, ipv6) }

func choose(command, command6 *Setting, ipv6 bool) *Setting {
	if ipv6 && command6 != nil {
		command = command6
	}
	if command == nil || command.Text == "" {
		return nil
	}
	return command
}
