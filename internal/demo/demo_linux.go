// Package demo acts port knocking out: a server and a client in private network
// namespaces, the real tirl, the real kernel.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/diagram"
	"tirl/internal/lab"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/term"
)

// Options of a demo.
type Options struct {
	Exe      string   // the tirl that is demonstrated
	Backends []string // one or more, in this order
	Policy   *policy.Policy
	Source   []byte // the policy's text
	Out      io.Writer
	Style    term.Style
	Width    int
	ASCII    bool
}

// ErrUnexpected says that the kernel did not do what the policy says.
var ErrUnexpected = errors.New("the demo did not go as the policy says")

// Run shows a policy at work, with the first backend and IPv4 step by step, then
// in a line each with the others. It leaves nothing behind, however it ends: the
// namespaces live as long as this process.
func Run(ctx context.Context, o Options) error {
	g, err := automaton.Compile(o.Policy)
	if err != nil {
		return err
	}
	d := &director{Options: o, g: g}
	d.printf("%s\n%s\n", intro, diagram.Text(g, diagram.TextOptions{Width: o.Width, ASCII: o.ASCII}))
	for i, backend := range o.Backends {
		if err := d.act(ctx, backend, i == 0); err != nil {
			return err
		}
	}
	if d.wrong > 0 {
		return fmt.Errorf("%w: %d steps, marked above", ErrUnexpected, d.wrong)
	}
	return nil
}

const intro = `A server and a client in private network namespaces; this host is not touched.

Port knocking hides a service. Its port answers nobody until the client has sent
packets to the right ports in the right order. What they carry does not matter;
where they go does. The server keeps the place of each address in this diagram:
`

type director struct {
	Options
	g      *automaton.Program
	wrong  int
	titled bool // the table has its head
}

func (d *director) printf(format string, args ...any) { fmt.Fprintf(d.Out, format, args...) }

// act plays the scenario with one backend and both families.
func (d *director) act(ctx context.Context, backend string, full bool) (err error) {
	st, err := newStage(d.Exe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	scenes, err := d.scenes(st)
	if err != nil {
		return err
	}
	if err := st.apply(ctx, d.Source, backend); err != nil {
		return fmt.Errorf("apply the policy with %s: %w", backend, err)
	}
	left, err := st.processes()
	if err != nil {
		return err
	}
	if full {
		d.printf("server$ tirl apply --backend %s\n", backend)
		d.printf("The rules are loaded; %d processes of tirl are left. From here on the kernel is alone.\n\n", left)
	}
	if left > 0 {
		d.wrong++
	}
	for i, s := range scenes {
		if full && i == 0 {
			err = d.tellAll(ctx, s)
		} else {
			err = d.tellShort(ctx, s, backend)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scenes prepares the first door that is open to the demo's client, once for
// each family, and starts the services that the scenario needs.
func (d *director) scenes(st *stage) ([]*scene, error) {
	var scenes []*scene
	served := make(map[port.Port]bool)
	serve := func(p port.Port, greeting string) error {
		if served[p] {
			return nil
		}
		served[p] = true
		return st.serve(p, greeting)
	}
	for _, ends := range [][2]netip.Addr{{lab.Server4(), lab.Client4(0)}, {lab.Server6(), lab.Client6(0)}} {
		door := d.doorFor(ends[1])
		if door == nil {
			continue
		}
		s := &scene{stage: st, server: ends[0], door: *door, class: d.g.Classes[door.Class], stray: d.stray()}
		for _, r := range d.g.Public {
			s.public = append(s.public, port.Port{Proto: r.Proto, Number: r.First})
		}
		if len(s.public) > 0 {
			if err := serve(s.public[0], "welcome"); err != nil {
				return nil, err
			}
		}
		hidden := s.class.Services[0]
		if err := serve(port.Port{Proto: hidden.Proto, Number: hidden.First}, "SSH-2.0-demo"); err != nil {
			return nil, err
		}
		scenes = append(scenes, s)
	}
	if len(scenes) == 0 {
		return nil, fmt.Errorf("no door of this policy opens to the demo's client (%s, %s), or it trusts that client",
			lab.Client4(0), lab.Client6(0))
	}
	return scenes, nil
}

// doorFor finds a door that a source must knock at and that opens to it.
func (d *director) doorFor(source netip.Addr) *automaton.Door {
	for _, n := range d.g.Trust {
		if n.Contains(source) {
			return nil
		}
	}
	for i := range d.g.Doors {
		if d.g.Doors[i].Admits(source) {
			return &d.g.Doors[i]
		}
	}
	return nil
}

// stray finds a UDP port, from 40000 up, that is no knock and no service.
func (d *director) stray() port.Port {
	p := port.Port{Proto: port.UDP, Number: 40000}
	for ; ; p.Number++ {
		known := false
		for _, e := range d.g.Edges() {
			known = known || e.On == p
		}
		for _, r := range append(d.g.Hidden(), d.g.Public...) {
			known = known || r.Contains(p)
		}
		if !known {
			return p
		}
	}
}

// tellAll prints every step.
func (d *director) tellAll(ctx context.Context, s *scene) error {
	return s.play(ctx, func(st step) {
		if st.kind == action {
			d.printf("client$ %s\n", st.what)
			return
		}
		d.printf("client$ %-24s %s  %s%s\n", st.what, d.state(st), st.why, d.mark(st))
	})
}

// column is one of the table's.
type column struct {
	kind  kind
	title string
}

// columns of the table that the other runs share.
var columns = [...]column{{before, "before"}, {opened, "knocked"}, {second, "again"}, {held, "first one"}, {expired, "later"}, {wrong, "wrong knock"}, {swept, "sweep"}}

// tellShort prints the whole scene on one line of a table.
func (d *director) tellShort(ctx context.Context, s *scene, backend string) error {
	found := make(map[kind]string)
	err := s.play(ctx, func(st step) { found[st.kind] = d.state(st) + d.mark(st) })
	if !d.titled {
		d.titled = true
		d.printf("\n%s\n", row("", func(c column) string {
			if found[c.kind] == "" {
				return ""
			}
			return fmt.Sprintf("%-*s", cellWidth, c.title)
		}))
	}
	family := "IPv4"
	if s.server.Is6() {
		family = "IPv6"
	}
	d.printf("%s\n", row(backend+" "+family, func(c column) string { return found[c.kind] }))
	return err
}

// cellWidth is that of what state gives.
const cellWidth = 6

// row lays out one line of the table. A cell is as wide as its title or "closed".
func row(head string, cell func(column) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-13s", head)
	gap := 2
	for _, c := range columns {
		if text := cell(c); text != "" {
			fmt.Fprintf(&b, "%*s%s", gap, "", text)
			gap = 2
			if text != c.title {
				gap += max(len(c.title)-cellWidth, 0)
			}
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// state says what the client found, in a column of fixed width.
func (d *director) state(st step) string {
	if st.open {
		return d.Style.Green("open  ")
	}
	return d.Style.Faint("closed")
}

// mark stands out if a step did not come out as it must.
func (d *director) mark(st step) string {
	if st.open == st.want {
		return ""
	}
	d.wrong++
	return d.Style.Red("  <- WRONG")
}
