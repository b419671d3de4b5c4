package cli

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"

	"tirl/internal/doctor"
	"tirl/internal/draft"
	"tirl/internal/host"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/session"
	"tirl/internal/tool"
)

// findings are what init found out about a host.
type findings struct {
	live             bool // it is this host, not an image
	host             policy.Host
	facts            doctor.Facts
	opens            []port.Range
	trust, suggested []draft.Entry
	firewalls        []string
}

// look finds out what a policy for this host, or for an image, depends on.
func (a *app) look(ctx context.Context, f initFlags) (*findings, error) {
	opens, err := f.hidden()
	if err != nil {
		return nil, err
	}
	found := &findings{live: a.dir == "", opens: opens}
	var way *session.Session
	var ssh []uint16
	if found.live {
		found.host = a.facts()
		var wayErr error
		way, wayErr = a.session()
		if mayAdministrate() {
			found.facts = a.gather(ctx, policy.Mode(f.mode) == policy.Firewall)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			a.warnings(found.facts.Unread)
			found.firewalls = found.facts.Rules.Firewalls()
			if wayErr != nil {
				a.warn("find out by which connection you came: %v", wayErr)
			}
		} else {
			a.warn("not root: other firewalls are not seen, and perhaps not how you came in")
		}
		ssh = sshPorts(ctx, found.host.Listeners, way)
	} else {
		ssh = host.SSHPorts(os.DirFS(a.dir))
	}
	if len(found.opens) == 0 {
		for _, n := range ssh {
			found.opens = append(found.opens, port.Range{Proto: port.TCP, First: n, Last: n})
		}
	}
	if len(found.opens) == 0 {
		return nil, fail(exitFailed, errors.New("no SSH server was found"), "say what to hide: sudo tirl init --opens tcp/22")
	}
	for _, name := range found.firewalls {
		a.note("found %s on this host", name)
	}
	found.trust, found.suggested, err = a.wayIn(way, found.live).trusted(f.trust)
	return found, err
}

// sshPorts finds where SSH listens. What sshd says of its configuration tells its
// own port from those that it forwards for its clients. Systemd may listen in its
// stead, and who is not root cannot see which program listens.
func sshPorts(ctx context.Context, listeners []policy.Listener, way *session.Session) []uint16 {
	configured := []uint16{22}
	known := false
	if text, err := (tool.Host{}).Run(ctx, "", "sshd", "-T"); err == nil {
		configured, known = host.ParseSSHPorts(text), true
	}
	var sure, other []uint16
	for _, l := range listeners {
		n := l.Service.Number
		switch {
		case l.Service.Proto != port.TCP:
		case slices.Contains(configured, n) && (host.IsSSHServer(l.Program) || l.Program == "systemd" || l.Program == ""):
			sure = append(sure, n)
		case host.IsSSHServer(l.Program):
			other = append(other, n)
		}
	}
	if way != nil && strings.HasPrefix(way.Process, "sshd") && !way.Remote.Addr().IsLoopback() {
		sure = append(sure, way.Local.Port())
	}
	switch {
	case len(sure) > 0:
	case len(other) > 0:
		sure = other
	case known:
		sure = configured
	}
	slices.Sort(sure)
	return slices.Compact(sure)
}

// wayIn is how the caller came to this host.
type wayIn struct {
	from netip.Addr // not valid: from nowhere that could be told
	by   string     // the device that leads there
	vpns []string   // all devices of this host that lead into a VPN
}

func (a *app) wayIn(s *session.Session, live bool) wayIn {
	var w wayIn
	if !live {
		return w
	}
	if s != nil && s.Remote.IsValid() && !s.Remote.Addr().IsLoopback() {
		w.from = s.Remote.Addr()
		w.by = device(w.from)
	}
	var err error
	if w.vpns, err = host.VPNs(); err != nil {
		a.warn("%v", err)
	}
	return w
}

// trusted decides who is let in without a knock, and whom the policy suggests. The
// device of a VPN by which the caller came in is trusted unless something else was
// asked for, so that this way stays open: a VPN asks for more than a knock. An
// address is not: it may belong to somebody else tomorrow.
func (w wayIn) trusted(asked []string) (trust, suggested []draft.Entry, err error) {
	for _, word := range asked {
		switch {
		case word == "none":
		case word == "session" && !w.from.IsValid():
			return nil, nil, fail(exitFailed, errors.New("it is not known where you came from"), "say it: --trust ADDRESS")
		case word == "session":
			trust = append(trust, draft.Entry{Text: w.from.String(), Why: "you came from there"})
		default:
			trust = append(trust, draft.Entry{Text: word, Why: "as asked"})
		}
	}
	has := func(text string) bool {
		return slices.ContainsFunc(trust, func(e draft.Entry) bool { return e.Text == text })
	}
	for _, name := range w.vpns {
		switch entry := "iface:" + name; {
		case has(entry):
		case name == w.by && len(asked) == 0:
			trust = append(trust, draft.Entry{Text: entry, Why: "a VPN: you came in by it"})
		default:
			suggested = append(suggested, draft.Entry{Text: entry, Why: "a VPN of this host"})
		}
	}
	if w.from.IsValid() && !slices.Contains(w.vpns, w.by) && !has(w.from.String()) {
		suggested = append(suggested, draft.Entry{Text: w.from.String(), Why: "you came from there; only if that address stays yours"})
	}
	return trust, suggested, nil
}

// tellTrust says who is let in without a knock.
func (a *app) tellTrust(found *findings, asked []string) {
	switch {
	case len(found.trust) > 0:
		a.note("trusts %s: no knock is needed from there", entries(found.trust))
		if len(asked) == 0 {
			a.hint("it is a VPN, and you came in by it; to leave it out: --trust none")
		}
	case len(found.suggested) > 0:
		a.note("trusts nobody yet; if knocks are lost on the way only the console is left. The file suggests %s", entries(found.suggested))
	default:
		a.note("trusts nobody yet; if knocks are lost on the way only the console is left")
	}
}

func entries(list []draft.Entry) string {
	words := make([]string, len(list))
	for i, e := range list {
		words[i] = e.Text
	}
	return strings.Join(words, ", ")
}
