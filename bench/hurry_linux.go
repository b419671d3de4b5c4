package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tirl/internal/audit"
	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/nftables"
	"tirl/internal/cli"
	"tirl/internal/lab"
	"tirl/internal/policy"
	"tirl/internal/verify"
	"tirl/internal/verify/parse"
)

// hurry is a policy of many doors on its way into a kernel, by the parts of tirl one after
// the other and by its commands.
type hurry struct {
	text     string
	policy   *policy.Policy
	program  *automaton.Program
	changed  *automaton.Program // one knock of one door is another
	rendered backend.Ruleset
	server   *lab.Namespace
	dir      string // of both policies, and where tirl keeps what it keeps
}

func newHurry(n int) (h *hurry, err error) {
	h = &hurry{}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if h.server, err = lab.NewNamespace(); err != nil {
		return h, err
	}
	if h.dir, err = os.MkdirTemp("", "tirl-bench-"); err != nil {
		return h, err
	}
	doors := manyDoors(n)
	h.text = doorsPolicy("guard", doors)
	if err := os.WriteFile(h.file("policy"), []byte(h.text), 0o600); err != nil {
		return h, err
	}
	doors[0][3].Number = lastKnock // which no door has
	changed := doorsPolicy("guard", doors)
	if err := os.WriteFile(h.file("changed"), []byte(changed), 0o600); err != nil {
		return h, err
	}
	h.changed, err = compile(changed)
	return h, err
}

func (h *hurry) close() error {
	var errs []error
	if h.server != nil {
		errs = append(errs, h.server.Close())
	}
	if h.dir != "" {
		errs = append(errs, os.RemoveAll(h.dir))
	}
	return errors.Join(errs...)
}

func (h *hurry) file(name string) string { return filepath.Join(h.dir, name+".toml") }

// Steps, in the order in which they are done.
const (
	stepCheck   = "check"
	stepCompile = "compile"
	stepRender  = "render"
	stepProve   = "prove"
	stepLoad    = "load"
	stepList    = "list"
	stepReload  = "load, one door changed"
)

func (h *hurry) steps(ctx context.Context) []timed {
	b := nftables.New(h.server)
	return []timed{
		{name: stepCheck, run: func() error {
			p, found := policy.Parse("policy.toml", []byte(h.text))
			if found.HasErrors() {
				return fmt.Errorf("%v", found)
			}
			h.policy = p
			audit.Of(p)
			return nil
		}},
		{name: stepCompile, run: func() (err error) {
			h.program, err = automaton.Compile(h.policy)
			return err
		}},
		{name: stepRender, run: func() (err error) {
			h.rendered, err = b.Render(h.program)
			return err
		}},
		{name: stepProve, run: func() error {
			rs, err := parse.Backend(b.Name(), h.rendered)
			if err != nil {
				return err
			}
			return verify.Verify(h.program, rs, verify.Options{One: true}).Err()
		}},
		{name: stepLoad, before: h.empty(ctx), run: func() error { return b.Load(ctx, h.program) }},
		{name: stepList, run: func() error {
			l, err := b.Loaded(ctx)
			if err == nil && l.PolicyHash != h.program.PolicyHash {
				err = errors.New("another policy is loaded")
			}
			return err
		}},
		{name: stepReload, run: func() error { return b.Load(ctx, h.changed) }},
	}
}

// empty takes out what is loaded, and what tirl remembers of it.
func (h *hurry) empty(ctx context.Context) func() error {
	return func() error {
		_, err := h.server.Run(ctx, "", "nft", "flush", "ruleset")
		return errors.Join(err, os.RemoveAll(h.root()))
	}
}

func (h *hurry) root() string { return filepath.Join(h.dir, "root") }

// Commands, in the order in which they are given.
const (
	commandCheck  = "tirl check"
	commandApply  = "tirl apply"
	commandAgain  = "tirl apply, nothing changed"
	commandChange = "tirl apply, one door changed"
	commandStatus = "tirl status"
)

func (h *hurry) commands(ctx context.Context) []timed {
	return []timed{
		{name: commandCheck, run: h.tirl(ctx, "check", "policy")},
		{name: commandApply, before: h.empty(ctx), run: h.tirl(ctx, "apply", "policy", "--no-confirm")},
		{name: commandAgain, run: h.tirl(ctx, "apply", "policy", "--no-confirm")},
		{name: commandChange, run: h.tirl(ctx, "apply", "changed", "--no-confirm")},
		{name: commandStatus, run: h.tirl(ctx, "status", "changed")},
	}
}

// tirl gives a command in the namespace.
func (h *hurry) tirl(ctx context.Context, command, policy string, flags ...string) func() error {
	args := append([]string{"--root", h.root(), command, "-c", h.file(policy)}, flags...)
	return func() error {
		return h.server.Do(func() error {
			var out, errs bytes.Buffer
			if code := cli.Main(ctx, args, &bytes.Buffer{}, &out, &errs, os.Environ()); code != 0 {
				return fmt.Errorf("exit status %d: %s", code, &errs)
			}
			return nil
		})
	}
}
