package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/doctor"
	"tirl/internal/policy"
	"tirl/internal/pool"
)

// withUsers adds to a view what there is to tell of users.
func (a *app) withUsers(ctx context.Context, v *view) *view {
	if v.program == nil || len(v.program.Users) == 0 {
		return v
	}
	var err error
	if v.users, err = a.userInfos(ctx, v.file); err != nil {
		v.Unread = append(v.Unread, err)
	}
	return v
}

// userTroubles are those of many users in few lines.
func userTroubles(all []pool.Info) []doctor.Finding {
	byState := make(map[string][]doctor.Finding)
	var order []string
	for _, i := range all {
		if text, hint := userTrouble(i); text != "" {
			state := userState(i)
			if byState[state] == nil {
				order = append(order, state)
			}
			byState[state] = append(byState[state], doctor.Finding{ID: doctor.UserValues, Severity: doctor.Warning, Text: text, Hint: hint})
		}
	}
	var out []doctor.Finding
	for _, state := range order {
		found := byState[state]
		if len(found) > mostNames {
			found = []doctor.Finding{{
				ID: doctor.UserValues, Severity: doctor.Warning,
				Text: fmt.Sprintf("%d users are %s", len(found), state), Hint: "sudo tirl user list",
			}}
		}
		out = append(out, found...)
	}
	return out
}

// userHints says what to do about users who cannot come in, or soon could not.
func (a *app) userHints(all []pool.Info) {
	for _, f := range userTroubles(all) {
		a.warn("%s", f.Text)
		if f.Hint != "" {
			a.hint("%s", f.Hint)
		}
	}
}

// spender tells by whose value a door was opened.
type spender struct {
	read  func() []pool.Info
	users []pool.Info
	at    time.Time // when they were read
	told  map[spent]bool
}

// spent is one value of a user.
type spent struct {
	pool.Name
	value uint64
}

// A refill notes a use within a minute, or later if the host is busy; the kernel log
// tells of it with the first connection, which may come after that.
const (
	noted     = 3 * time.Minute
	connected = 2 * time.Minute
	readAgain = time.Second
)

// who finds the value that opened a door to a source by a time: the first one that no
// earlier event was about.
func (s *spender) who(source netip.Addr, at time.Time) (spent, bool) {
	if s == nil {
		return spent{}, false
	}
	if now := time.Now(); now.Sub(s.at) > readAgain {
		s.users, s.at = s.read(), now
	}
	for _, i := range s.users {
		for _, u := range i.Uses {
			key := spent{i.Name, u.Number}
			late := u.Seen.Sub(at.Truncate(time.Second))
			if !s.told[key] && late > -connected && late < noted && slices.Contains(u.Sources, source) {
				s.told[key] = true
				return key, true
			}
		}
	}
	return spent{}, false
}

// spender reads the users of the policy in force.
func (a *app) spender(ctx context.Context, g *automaton.Program) *spender {
	if len(g.Users) == 0 {
		return nil
	}
	return &spender{told: make(map[spent]bool), read: func() []pool.Info {
		users, err := a.userInfos(ctx, "")
		if err != nil {
			return nil // who it was is left out
		}
		return users
	}}
}

// openedBy names who a source is by the last value that it has spent at one of some
// doors; nil if it has spent none.
func openedBy(users []pool.Info, source netip.Addr, doors []*automaton.Door) (by *spent, seen time.Time) {
	for _, i := range users {
		if !slices.ContainsFunc(doors, func(d *automaton.Door) bool { return d.Name == i.Door }) {
			continue
		}
		for _, u := range i.Uses {
			if slices.Contains(u.Sources, source) && !u.Seen.Before(seen) {
				by, seen = &spent{i.Name, u.Number}, u.Seen
			}
		}
	}
	return by, seen
}

// keyFindings judges the secrets of a policy's users, where they can be seen.
func (a *app) keyFindings(d *document, g *automaton.Program, asked bool) policy.Diagnostics {
	if len(g.Users) == 0 {
		return nil
	}
	store := pool.Dir{Root: a.dir}
	if _, err := pool.Keys(store); errors.Is(err, fs.ErrPermission) {
		if !asked {
			return nil
		}
		return policy.Diagnostics{d.policy.Diagnose("door", policy.Error, "the keys of users cannot be seen: "+err.Error(), "sudo tirl check --keys")}
	}
	var found policy.Diagnostics
	for _, err := range pool.Check(store, g) {
		of, ok := errors.AsType[*pool.UserError](err)
		if !ok {
			found = append(found, d.policy.Diagnose("door", policy.Warning, err.Error(), ""))
			continue
		}
		severity := policy.Error
		if errors.Is(err, pool.ErrNoKey) || errors.Is(err, pool.ErrRevoked) {
			severity = policy.Warning // he is shut out, and nobody else is let in
		}
		n := pool.Name{Door: of.Door, User: of.User}
		found = append(found, d.policy.Diagnose("door."+of.Door+".users."+of.User, severity,
			fmt.Sprintf("the key of user %s: %v", of.User, of.Err), keyHint(n, err)))
	}
	return found
}
