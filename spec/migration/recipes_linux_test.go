package migration

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend/nftables"
	"tirl/internal/importer"
	"tirl/internal/lab"
	"tirl/internal/port"
	"tirl/internal/verify"
)

// copied is a recipe of rules in one kernel, and the policy that was made of it in
// another.
type copied struct {
	*testing.T
	recipe, tirl *side
	program      *automaton.Program
	next         int // source
}

// notLoaded are recipes that need more than a kernel.
var notLoaded = []string{"handoff.sh"} // sets that another program makes

// Recipes load, and whoever knocks honestly comes in by the recipe and by the policy. What
// import says of where they differ happens.
func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("../../internal/importer/testdata/rules/*.[sn]*")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if slices.Contains(notLoaded, filepath.Base(file)) {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r, err := importer.Rules(filepath.Base(file), text, filepath.Ext(file) == ".nft", nil)
			if err != nil {
				t.Fatal(err)
			}
			c := &copied{T: t, recipe: newSide(t)}
			c.load(filepath.Ext(file), string(text))
			if r.Policy == nil {
				return
			}
			c.tirl = newSide(t)
			if c.program, err = automaton.Compile(r.Policy); err != nil {
				t.Fatal(err)
			}
			if err := nftables.New(c.tirl.pair.Server).Load(t.Context(), c.program); err != nil {
				t.Fatal(err)
			}
			c.serve()
			for i := range c.program.Doors {
				c.knock(&c.program.Doors[i])
			}
			for _, d := range r.Proof.Differences {
				c.differs(d)
			}
			c.together()
		})
	}
}

// load has the tool that a file is for load it.
func (c *copied) load(kind, text string) {
	c.Helper()
	command := map[string][]string{".sh": {"sh", "-e"}, ".save": {"iptables-restore"}, ".nft": {"nft", "-f", "-"}}[kind]
	if _, err := c.recipe.pair.Server.Run(c.Context(), text, command[0], command[1:]...); err != nil {
		c.Fatal(err)
	}
}

// serve has something listen behind the doors, so that a refusal with a reset is no
// sign of an open door.
func (c *copied) serve() {
	c.Helper()
	for _, s := range []*side{c.recipe, c.tirl} {
		for _, service := range c.program.Hidden() {
			if service.Proto != port.TCP {
				continue
			}
			l, err := lab.NewResponder(s.pair.Server, port.TCP, netip.AddrPortFrom(lab.Server4(), service.First))
			if err != nil {
				c.Fatal(err)
			}
			c.Cleanup(func() { l.Close() })
		}
	}
}

// source gives one that nobody has used.
func (c *copied) source() netip.Addr {
	c.next++
	return lab.Forged4(c.next)
}

// try sends packets to both sides and says whether the last one got in.
func (c *copied) try(packets []step) (recipe, tirl bool) {
	c.Helper()
	last := packets[len(packets)-1]
	for _, s := range []*side{c.recipe, c.tirl} {
		if len(packets) > 1 {
			if err := s.send(c.Context(), packets[:len(packets)-1]...); err != nil {
				c.Fatal(err)
			}
		}
		s.answers(c.T)
		if err := s.send(c.Context(), last); err != nil {
			c.Fatal(err)
		}
		// A listener takes what comes by TCP; for UDP there is none, and the kernel says so.
		in := slices.ContainsFunc(s.answers(c.T), func(a lab.Answer) bool {
			return a.Dst == last.src && (a.Kind == lab.SynAck || last.to.Proto == port.UDP && a.Kind == lab.Unreachable)
		})
		if s == c.recipe {
			recipe = in
		} else {
			tirl = in
		}
	}
	return recipe, tirl
}

// knock tries a door without its knocks, with them, and with two of them exchanged.
func (c *copied) knock(d *automaton.Door) {
	c.Helper()
	r := c.program.Classes[d.Class].Services[0]
	service := port.Port{Proto: r.Proto, Number: r.First}
	whole := append(slices.Clone(d.Knocks), service)
	if recipe, tirl := c.try(knocks(c.source(), service)); recipe || tirl {
		c.Errorf("door %s is open without a knock: recipe %v, tirl %v", d.Name, recipe, tirl)
	}
	if recipe, tirl := c.try(knocks(c.source(), whole...)); !recipe || !tirl {
		c.Errorf("door %s, after its knocks: recipe %v, tirl %v", d.Name, recipe, tirl)
	}
	mixed := slices.Clone(whole)
	mixed[0], mixed[1] = mixed[1], mixed[0]
	if recipe, tirl := c.try(knocks(c.source(), mixed...)); recipe || tirl {
		c.Errorf("door %s, with two knocks exchanged: recipe %v, tirl %v", d.Name, recipe, tirl)
	}
}

// differs sends a counterexample, if its packets are plain ones.
func (c *copied) differs(d verify.Difference) {
	c.Helper()
	src := c.source()
	var packets []step
	for i, p := range d.Packets {
		hasPorts := p.To.Proto == port.TCP || p.To.Proto == port.UDP
		isLate := i > 0 && p.Time-d.Packets[i-1].Time > time.Second
		if !hasPorts || isLate || !p.Src.Is4() || p.Conn != automaton.New || p.Dest != automaton.ToHost || p.Iface != "" {
			return
		}
		packets = append(packets, knock(src, p.To))
	}
	recipe, tirl := c.try(packets)
	if wantRecipe, wantTirl := d.Got.Verdict == automaton.Accept.String(), d.Want.Verdict == automaton.Accept; recipe != wantRecipe || tirl != wantTirl {
		c.Errorf("%v: the recipe lets in: %v, tirl: %v; import says %v, %v", packets, recipe, tirl, wantRecipe, wantTirl)
	}
}

// together loads the policy beside the recipe, as somebody does who changes over. Two
// firewalls that drop the knocks keep them from each other.
func (c *copied) together() {
	c.Helper()
	if err := nftables.New(c.recipe.pair.Server).Load(c.Context(), c.program); err != nil {
		c.Fatal(err)
	}
	for i := range c.program.Doors {
		d := &c.program.Doors[i]
		r := c.program.Classes[d.Class].Services[0]
		whole := append(slices.Clone(d.Knocks), port.Port{Proto: r.Proto, Number: r.First})
		if both, _ := c.try(knocks(c.source(), whole...)); both == c.program.Firewall {
			c.Errorf("door %s, with both loaded: open after its knocks: %v", d.Name, both)
		}
	}
}
