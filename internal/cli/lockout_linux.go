package cli

import (
	"errors"
	"net/netip"
	"os"

	"tirl/internal/apply"
	"tirl/internal/lockout"
	"tirl/internal/session"
)

// lockOut warns of what a policy means for whoever loads it, and fails if it
// would lock them out, unless forced.
func (a *app) lockOut(in apply.Input, force bool) error {
	situation := lockout.Situation{Session: in.Session, Interface: device}
	var err, err2 error
	situation.Sessions, err = session.List(os.DirFS("/"))
	situation.Gateways, err2 = session.Gateways(os.DirFS("/"))
	if err := errors.Join(err, err2); err != nil {
		a.warn("whether this would lock you out is not fully known: %v", err)
	}
	for _, f := range lockout.Check(in.Program, situation) {
		if f.Kind.Refuses() && !force {
			return fail(exitFailed, errors.New(f.Text), f.Hint+"; or, if you know better: sudo tirl "+commandLine(append([]string{"apply", "--force"}, without(a.args, "apply")...)))
		}
		a.warn("%s", f.Text)
		if f.Hint != "" {
			a.hint("%s", f.Hint)
		}
	}
	return nil
}

// without drops the first argument that is word.
func without(args []string, word string) []string {
	var out []string
	dropped := false
	for _, arg := range args {
		if arg == word && !dropped {
			dropped = true
			continue
		}
		out = append(out, arg)
	}
	return out
}

// device gives the interface by which an address is reached; "" if it is not known.
func device(addr netip.Addr) string {
	name, err := session.Interface(addr)
	if err != nil {
		return ""
	}
	return name
}
