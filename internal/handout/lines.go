package handout

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/knock"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// Line is a command that sends the knocks of one door to one address.
type Line struct {
	Tool    string     // knock, nc or powershell
	Door    string     // its name
	Address netip.Addr // where the knocks go
	For     string     // what the line is for, in words
	Command string     // empty: the tool cannot do it, and For says why
}

// Lines are the commands for machines without tirl: of each door, for each
// address, and of each tool.
func (h *Handout) Lines() []Line {
	var all []Line
	for _, d := range h.Remote.Doors {
		if d.Credential != nil {
			continue // a line can neither compute nor count
		}
		for _, a := range h.Remote.Addresses {
			for _, tool := range []struct {
				name, title string
				command     func(policy.Door, netip.Addr) (command, why string)
			}{
				{"knock", "knockd's client", h.knockLine},
				{"nc", "nc", h.ncLine},
				{"powershell", "Windows PowerShell", h.powershellLine},
			} {
				l := Line{Tool: tool.name, Door: d.Name, Address: a,
					For: fmt.Sprintf("Door %s at %s, by %s:", d.Name, a, tool.title)}
				command, why := tool.command(d, a)
				if l.Command = command; command == "" {
					l.For = fmt.Sprintf("Door %s at %s: not by %s, %s.", d.Name, a, tool.title, why)
				}
				all = append(all, l)
			}
		}
	}
	return all
}

// milliseconds between two knocks.
func (h *Handout) milliseconds() int64 {
	if h.Remote.Delay == 0 {
		return knock.DefaultDelay.Milliseconds()
	}
	return h.Remote.Delay.Milliseconds()
}

// knockLine is for knock(1).
func (h *Handout) knockLine(d policy.Door, a netip.Addr) (string, string) {
	family := "-4"
	if a.Is6() {
		family = "-6"
	}
	words := []string{"knock", family, "-d", fmt.Sprint(h.milliseconds()), a.String()}
	for _, k := range d.Knocks {
		words = append(words, fmt.Sprintf("%d:%s", k.Number, k.Proto))
	}
	return strings.Join(words, " "), ""
}

// ncWait is how long every nc waits behind a datagram, for want of an option
// for less that they have in common.
const ncWait = time.Second

// ncLine is for a POSIX shell and any nc.
func (h *Handout) ncLine(d policy.Door, a netip.Addr) (string, string) {
	tcp := hasTCP(d.Knocks)
	switch {
	case h.knocking.StepTimeout < 2*ncWait:
		return "", fmt.Sprintf("which takes %v for a knock", ncWait)
	case tcp && h.knocking.Duplicates == policy.ResetDuplicates:
		// It gives up just when the first retransmission is due, RFC 6298.
		return "", "which may send a TCP knock twice"
	case tcp:
		var each []string
		for _, k := range d.Knocks {
			if k.Proto == port.TCP {
				each = append(each, fmt.Sprintf("nc -z -w 1 %s %d", a, k.Number))
			} else {
				each = append(each, fmt.Sprintf("echo | nc -u -w 1 %s %d", a, k.Number))
			}
		}
		return strings.Join(each, "; "), ""
	}
	return fmt.Sprintf("for p in %s; do echo | nc -u -w 1 %s $p; done", numbers(d.Knocks, " "), a), ""
}

// powershellLine is for PowerShell of any version: it asks .NET for sockets.
// Each knock has one of its own, since an ICMP error spoils one for the next.
func (h *Handout) powershellLine(d policy.Door, a netip.Addr) (string, string) {
	pause := fmt.Sprintf("Start-Sleep -Milliseconds %d", h.milliseconds())
	udp := fmt.Sprintf("$s = New-Object Net.Sockets.UdpClient('%s', $p); [void]$s.Send([byte[]]@(0), 1); $s.Close(); %s", a, pause)
	if !hasTCP(d.Knocks) {
		return fmt.Sprintf("foreach ($p in %s) { %s }", numbers(d.Knocks, ", "), udp), ""
	}
	family := "InterNetwork"
	if a.Is6() {
		family += "V6"
	}
	tcp := fmt.Sprintf("$s = New-Object Net.Sockets.TcpClient([Net.Sockets.AddressFamily]::%s); "+
		"[void]$s.BeginConnect('%s', $p, $null, $null); %s; $s.Close()", family, a, pause)
	line := fmt.Sprintf("function udp($p) { %s }; function tcp($p) { %s }", udp, tcp)
	for _, k := range d.Knocks {
		line += fmt.Sprintf("; %s %d", k.Proto, k.Number)
	}
	return line, ""
}

func hasTCP(knocks []port.Port) bool {
	return slices.ContainsFunc(knocks, func(k port.Port) bool { return k.Proto == port.TCP })
}

func numbers(knocks []port.Port, separator string) string {
	all := make([]string, len(knocks))
	for i, k := range knocks {
		all[i] = fmt.Sprint(k.Number)
	}
	return strings.Join(all, separator)
}
