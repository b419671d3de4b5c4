package nftables

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
	"tirl/internal/tool"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

func maker(r tool.Runner) backend.Backend { return New(r) }

// server makes a namespace with nothing in it.
func server(t *testing.T) *lab.Namespace {
	t.Helper()
	labtest.Require(t)
	n, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func nft(t *testing.T, r tool.Runner, text string) {
	t.Helper()
	if _, err := r.Run(context.Background(), text, "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

func ruleset(t *testing.T, r tool.Runner) string {
	t.Helper()
	out, err := r.Run(context.Background(), "", "nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGoldenFilesLoad(t *testing.T) {
	for _, file := range policies(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			n := server(t)
			text, err := os.ReadFile(strings.TrimSuffix(file, ".toml") + ".nft")
			if err != nil {
				t.Fatal(err)
			}
			nft(t, n, string(text))
			first := ruleset(t, n)
			nft(t, n, string(text))
			if diff := cmp.Diff(first, ruleset(t, n)); diff != "" {
				t.Errorf("loading by hand twice is not loading once (-once +twice):\n%s", diff)
			}
			loaded, err := New(n).Loaded(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Count(string(text), ` comment "`); loaded.Rules != want {
				t.Errorf("the kernel holds %d rules, the file has %d", loaded.Rules, want)
			}
			if want := compile(t, file).PolicyHash; loaded.PolicyHash != want {
				t.Errorf("policy hash is %q, want %q", loaded.PolicyHash, want)
			}
		})
	}
}

// TestLoadingByHandOverAnotherMode holds nobody locked out: an input chain that
// firewall mode left behind must let everything pass.
func TestLoadingByHandOverAnotherMode(t *testing.T) {
	n := server(t)
	for _, name := range []string{"strict", "guard", "reference"} {
		text, err := os.ReadFile("testdata/" + name + ".nft")
		if err != nil {
			t.Fatal(err)
		}
		nft(t, n, string(text))
		l, err := New(n).list(context.Background(), "list", "table", "inet", "tirl")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range l.objects {
			for _, line := range o.body {
				if strings.Contains(line, "policy drop") {
					t.Errorf("%s: chain %s drops by policy", name, o.name)
				}
			}
		}
		// An established, unrelated rule count shows that the left-over chain is empty.
		left := map[string]string{"guard": "input", "reference": "prerouting"}[name]
		if o := l.find(left); o != nil && len(o.body) > 1 {
			t.Errorf("%s: chain %s still has rules: %v", name, left, o.body)
		}
	}
}

// TestSkim holds what is read quickly against the whole.
func TestSkim(t *testing.T) {
	ctx := context.Background()
	n := server(t)
	b := New(n)
	nft(t, n, "table inet before { map m { type inet_service : mark\n }\n chain input { }\n }")
	if l, err := b.Skim(ctx); l != nil || err != nil {
		t.Errorf("of nothing: %v, %v", l, err)
	}
	if l, err := b.Outline(ctx); l != nil || err != nil {
		t.Errorf("of nothing: %v, %v", l, err)
	}
	if l, err := b.objects(ctx); l != nil || err != nil {
		t.Errorf("of nothing: %v, %v", l, err)
	}
	for _, file := range policies(t) {
		if err := b.Load(ctx, compile(t, file)); err != nil {
			t.Fatal(err)
		}
		nft(t, n, "table inet zafter { map m { type inet_service : mark\n }\n chain input { }\n }")
		whole, err := b.list(ctx, "list", "table", "inet", "tirl")
		if err != nil {
			t.Fatal(err)
		}
		names := func(l *listing) map[string]string {
			out := make(map[string]string)
			for _, o := range l.objects {
				if o.kind == "counter" {
					continue
				}
				text := o.hook()
				if o.kind == "set" || o.kind == "map" {
					text = strings.Join(o.body, "\n")
				}
				out[o.name] = o.kind + " " + text
			}
			return out
		}
		l, err := b.objects(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(names(whole), names(l)); diff != "" {
			t.Errorf("%s (-whole +objects):\n%s", file, diff)
		}
		want, err := b.Loaded(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.Sources(ctx); err != nil || len(got.Places) != len(want.Places) || len(got.Grants) != len(want.Grants) {
			t.Errorf("sources %+v, %v, want %+v", got, err, want)
		}
		if got, err := b.Outline(ctx); err != nil || got.Rules != want.Rules || got.PolicyHash != want.PolicyHash {
			t.Errorf("%s: %+v, %v", file, got, err)
		}
		for _, blocked := range []bool{true, false} {
			change := b.Unblock
			if blocked {
				change = b.Block
			}
			if err := change(ctx); err != nil {
				t.Fatal(err)
			}
			if got, err := b.Skim(ctx); err != nil || got.Blocked != blocked {
				t.Errorf("%s: %+v, %v, want blocked %v", file, got, err, blocked)
			}
		}
	}
	nft(t, n, "flush table inet tirl\ndelete set inet tirl blocked")
	if l, err := b.Skim(ctx); l == nil || err != nil {
		t.Errorf("of a table without the set: %v, %v", l, err)
	}
}

// TestLoadReplaces goes through all policies: what one leaves is not in the way
// of the next, and the result is that of loading it alone.
func TestLoadReplaces(t *testing.T) {
	ctx := context.Background()
	used := New(server(t))
	files := policies(t)
	for _, file := range append(files, files...) {
		g := compile(t, file)
		if err := used.Load(ctx, g); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		alone := New(server(t))
		if err := alone.Load(ctx, g); err != nil {
			t.Fatal(err)
		}
		got, want := objects(t, used), objects(t, alone)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-alone +after others):\n%s", file, diff)
		}
	}
}

func objects(t *testing.T, b *Backend) string {
	t.Helper()
	loaded, err := b.Loaded(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Text
}

func TestRemoveLeavesTheHostAsItWas(t *testing.T) {
	ctx := context.Background()
	n := server(t)
	nft(t, n, `table inet other {
	set s { type ipv4_addr; elements = { 192.0.2.1 } }
	chain c {
		type filter hook input priority 10; policy accept;
		ip saddr @s counter drop comment "not tirl's"
	}
}
table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy accept;
	}
}
`)
	before := ruleset(t, n)
	b := New(n)
	for _, file := range policies(t) {
		if err := b.Load(ctx, compile(t, file)); err != nil {
			t.Fatal(err)
		}
	}
	if during := ruleset(t, n); !strings.Contains(during, strings.TrimSpace(before)) {
		t.Errorf("other tables were touched:\n%s", during)
	}
	for range 2 {
		if err := b.Remove(ctx); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, ruleset(t, n)); diff != "" {
			t.Errorf("after removal (-before +after):\n%s", diff)
		}
	}
	if loaded, err := b.Loaded(ctx); loaded != nil || err != nil {
		t.Errorf("Loaded gives %v, %v after removal", loaded, err)
	}
}

func TestFailedLoadChangesNothing(t *testing.T) {
	ctx := context.Background()
	n := server(t)
	if err := New(n).Load(ctx, compile(t, "testdata/guard.toml")); err != nil {
		t.Fatal(err)
	}
	before := ruleset(t, n)
	broken := New(spoil{n})
	if err := broken.Load(ctx, compile(t, "testdata/reference.toml")); err == nil {
		t.Fatal("the broken ruleset was loaded")
	}
	if diff := cmp.Diff(before, ruleset(t, n)); diff != "" {
		t.Errorf("a failed load changed something (-before +after):\n%s", diff)
	}
}

// spoil appends a line to what is loaded that the kernel refuses.
type spoil struct{ tool.Runner }

func (s spoil) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	if stdin != "" {
		stdin += "add rule inet tirl no_such_chain accept\n"
	}
	return s.Runner.Run(ctx, stdin, name, args...)
}

func kernel(t *testing.T, src string) (*backendtest.Kernel, *automaton.Program) {
	t.Helper()
	labtest.Require(t)
	g := compileText(t, "policy", src)
	k, err := backendtest.New(context.Background(), g, maker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k, g
}

func udp(n uint16) port.Port { return port.Port{Proto: port.UDP, Number: n} }
func tcp(n uint16) port.Port { return port.Port{Proto: port.TCP, Number: n} }

// send sends packets from one source, one by one.
func send(t *testing.T, k *backendtest.Kernel, src string, to ...port.Port) []automaton.Verdict {
	t.Helper()
	var verdicts []automaton.Verdict
	for _, p := range to {
		v, err := k.Send(context.Background(), automaton.Packet{Src: netip.MustParseAddr(src), To: p, Flags: automaton.SYN, TTL: 64})
		if err != nil {
			t.Fatal(err)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

func last(v []automaton.Verdict) automaton.Verdict { return v[len(v)-1] }

const twoDoors = `
[door.a]
opens    = ["tcp/22"]
knocks   = ["udp/1001", "udp/5002", "udp/1003"]
open_for = "20s"

[door.b]
opens    = ["tcp/2222"]
knocks   = ["udp/2001", "udp/6002", "udp/2003"]
open_for = "20s"
`

// TestGrantsOutliveAChangeOfPolicy: a grant stays while its door does, for the
// sources that the door still admits; places go.
func TestGrantsOutliveAChangeOfPolicy(t *testing.T) {
	ctx := context.Background()
	k, _ := kernel(t, twoDoors)
	for _, src := range []string{"10.9.0.20", "10.9.0.200", "2001:db8:9::20"} {
		send(t, k, src, udp(1001), udp(5002), udp(1003))
		send(t, k, src, udp(2001), udp(6002), udp(2003))
	}
	send(t, k, "10.9.0.30", udp(1001), udp(5002))

	changed := strings.Replace(twoDoors, "udp/1003", "udp/1004", 1) // another knock, the same door
	changed = changed[:strings.Index(changed, "[door.b]")]          // no door b
	changed += "from = [\"10.9.0.0/25\", \"2001:db8:9::/64\"]\n"
	if err := k.Backend.Load(ctx, compileText(t, "changed", changed)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		src  string
		to   port.Port
		want automaton.Verdict
		why  string
	}{
		{"10.9.0.20", tcp(22), automaton.Accept, "the door is still there"},
		{"2001:db8:9::20", tcp(22), automaton.Accept, "the door is still there"},
		{"10.9.0.200", tcp(22), automaton.Dropped, "the door is not for this source any more"},
		{"10.9.0.20", tcp(2222), automaton.Accept, "nobody hides this any more"},
		{"10.9.0.21", tcp(22), automaton.Dropped, "never knocked"},
	} {
		if got := last(send(t, k, c.src, c.to)); got != c.want {
			t.Errorf("%s to %s: %v, want %v: %s", c.src, c.to, got, c.want, c.why)
		}
	}
	loaded, err := k.Backend.Loaded(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded.Places) != 0 {
		t.Errorf("places outlived their policy: %v", loaded.Places)
	}
	if len(loaded.Grants) != 2 {
		t.Errorf("%d grants are left, want 2: %v", len(loaded.Grants), loaded.Grants)
	}
	for _, g := range loaded.Grants {
		if g.Left <= 0 || g.Left > 20*time.Second {
			t.Errorf("the grant of %s has %v left", g.Source, g.Left)
		}
	}
	// Back again: the grants of door b are gone for good.
	if err := k.Backend.Load(ctx, compileText(t, "policy", twoDoors)); err != nil {
		t.Fatal(err)
	}
	if got := last(send(t, k, "10.9.0.20", tcp(2222))); got != automaton.Dropped {
		t.Errorf("a grant came back with its door: %v", got)
	}
}

// TestFullTablesFailClosed: strangers who fill the tables keep others from
// beginning, never let anybody in, and never throw out who is further on.
func TestFullTablesFailClosed(t *testing.T) {
	k, _ := kernel(t, "[knocking]\nsources = 4\n"+twoDoors)
	send(t, k, "10.9.0.20", udp(1001), udp(5002))
	for i := range 12 {
		send(t, k, lab.Forged4(i+1).String(), udp(1001))
	}
	if got := last(send(t, k, "10.9.0.20", udp(1003), tcp(22))); got != automaton.Accept {
		t.Errorf("a source that was one knock away was thrown out: %v", got)
	}
	for i := range 12 {
		if got := last(send(t, k, lab.Forged4(i+1).String(), tcp(22))); got != automaton.Dropped {
			t.Errorf("stranger %d: %v", i, got)
		}
	}
	if got := last(send(t, k, "10.9.0.40", udp(1001), udp(5002), udp(1003), tcp(22))); got != automaton.Dropped {
		t.Errorf("with full tables a knock is not heard, but: %v", got)
	}
	time.Sleep(automaton.BucketLife + 1500*time.Millisecond)
	// The buckets are gone; places of depth 1 are still full, so that a door is
	// still shut, but nothing else is.
	if got := last(send(t, k, "10.9.0.20", tcp(22))); got != automaton.Accept {
		t.Errorf("a grant was lost: %v", got)
	}
}

// TestScratchRegisterIsClean: whatever happens to a packet, it leaves with the
// priority none, and marks are nobody's but their owners'.
func TestScratchRegisterIsClean(t *testing.T) {
	k, _ := kernel(t, `
[door.a]
opens    = ["tcp/22"]
knocks   = ["udp/1001", "udp/5002", "udp/1003"]
open_for = "20s"
[door.b]
opens    = ["tcp/2222"]
knocks   = ["udp/1001", "tcp/6002"]
open_for = "once"
from     = ["10.9.0.0/24"]
`)
	nft(t, k.Pair.Server, `table inet spy {
	counter dirty { }
	counter marked { }
	counter seen { }
	chain early {
		type filter hook prerouting priority -180; policy accept;
		iifname "srv0" meta mark set 0x77 ct mark set 0x99
	}
	chain late {
		type filter hook input priority 10; policy accept;
		iifname "srv0" meta l4proto { tcp, udp } counter name seen
		iifname "srv0" meta l4proto { tcp, udp } meta priority != none counter name dirty
		iifname "srv0" meta l4proto { tcp, udp } meta mark != 0x77 counter name marked
		iifname "srv0" meta l4proto { tcp, udp } ct mark != 0x99 counter name marked
	}
}
`)
	for _, src := range []string{"10.9.0.20", "2001:db8:9::20"} {
		send(t, k, src,
			udp(1001), udp(1001), udp(5002), udp(1001), udp(9), udp(1001), udp(5002), udp(1003), tcp(22), tcp(22),
			udp(1001), tcp(6002), tcp(6002), tcp(2222), tcp(2222), udp(1001), tcp(80), udp(53))
	}
	out := ruleset(t, k.Pair.Server)
	for name, zero := range map[string]bool{"dirty": true, "marked": true, "seen": false} {
		_, rest, ok := strings.Cut(out, "counter "+name+" {")
		if !ok {
			t.Fatalf("no counter %s", name)
		}
		if got := strings.HasPrefix(strings.TrimSpace(rest), "packets 0 "); got != zero {
			t.Errorf("counter %s: %.40s", name, strings.TrimSpace(rest))
		}
	}
}

func TestKernelRefusesWhatThisNftCannotBuild(t *testing.T) {
	n := server(t)
	g := compileText(t, "policy", "[knocking]\nmatch_ttl = true\n"+twoDoors)
	err := New(n).Load(context.Background(), g)
	if err == nil {
		t.Skip("this nft allocates registers for 20 byte keys")
	}
	if !strings.Contains(err.Error(), "this nft cannot build a rule of this policy") {
		t.Errorf("error is %v", err)
	}
	if out := ruleset(t, n); out != "" {
		t.Errorf("something was loaded:\n%s", out)
	}
}
