package policy

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	toml "github.com/pelletier/go-toml/v2"

	"tirl/internal/port"
)

var samePolicy = cmp.Options{
	cmpopts.IgnoreUnexported(Policy{}),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// mustParse parses a policy that has no errors.
func mustParse(t testing.TB, text string) *Policy {
	t.Helper()
	p, ds := Parse("policy.toml", []byte(text))
	if ds.HasErrors() {
		t.Fatalf("refused: %v\n%s", ds, text)
	}
	return p
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParseReference(t *testing.T) {
	got := mustParse(t, testdata(t, "good/reference.toml"))
	want := &Policy{
		Version:  1,
		Mode:     Firewall,
		Backend:  BackendAuto,
		Refuse:   Drop,
		Public:   Public{Services: []port.Range{{Proto: port.TCP, First: 80, Last: 80}}},
		Firewall: FirewallOptions{ICMP: true, DHCP: true},
		Knocking: Knocking{StepTimeout: Day, Duplicates: ResetDuplicates, IPv6Prefix: 128, PerSource: 20, Sources: 65536},
		Log:      Log{Events: KernelEvents},
		Boot:     Boot{OnFailure: CloseOnFailure},
		Doors: []Door{{
			Name:   "ssh",
			Opens:  []port.Range{{Proto: port.TCP, First: 22, Last: 22}},
			Knocks: []port.Port{{Proto: port.UDP, Number: 12345}, {Proto: port.UDP, Number: 23456}, {Proto: port.UDP, Number: 34567}},
			Once:   true,
		}},
	}
	if diff := cmp.Diff(want, got, samePolicy); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseDefaults(t *testing.T) {
	p := mustParse(t, testdata(t, "good/shortest.toml"))
	if p.Mode != Guard || p.Refuse != Drop || p.Log.Events != KernelEvents || p.Boot.OnFailure != CloseOnFailure || p.Backend != BackendAuto || p.Version != 1 {
		t.Errorf("top level: %+v", p)
	}
	if want := (Knocking{StepTimeout: 10 * time.Second, Duplicates: IgnoreDuplicates, IPv6Prefix: 128, PerSource: 20, Sources: 65536}); p.Knocking != want {
		t.Errorf("knocking is %+v, want %+v", p.Knocking, want)
	}
	if d := p.Doors[0]; d.Once || d.OpenFor != 30*time.Second || d.From != nil {
		t.Errorf("door: %+v", d)
	}
}

func TestParseEverything(t *testing.T) {
	p := mustParse(t, testdata(t, "good/everything.toml"))
	if p.Backend != BackendIptables || p.Refuse != Reset || p.Log.Events != NflogEvents || p.Boot.OnFailure != OpenOnFailure {
		t.Errorf("top level: %+v", p)
	}
	if want := (Knocking{StepTimeout: 90 * time.Second, Duplicates: ResetDuplicates, MatchTTL: true, IPv6Prefix: 64, PerSource: 10000, Sources: 1 << 24}); p.Knocking != want {
		t.Errorf("knocking is %+v, want %+v", p.Knocking, want)
	}
	if diff := cmp.Diff([]string{"wg0", "br-lan.100"}, p.Trust.Interfaces); diff != "" {
		t.Error(diff)
	}
	want := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/64"), netip.MustParsePrefix("192.0.2.1/32")}
	if diff := cmp.Diff(want, p.Doors[0].From, samePolicy); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]port.Proto{50, 112, 51}, p.Public.Protocols); diff != "" {
		t.Error(diff)
	}
}

// The caller may reuse its buffer after Parse.
func TestParseKeepsNoReference(t *testing.T) {
	text := []byte("[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/40213\", \"udp/7719\", \"udp/28816\"]\n")
	p, _ := Parse("policy.toml", text)
	clear(text)
	if d := p.Diagnose("door.ssh.opens", Error, "x", ""); d.excerpt != `opens = ["tcp/22"]` || p.Doors[0].Name != "ssh" {
		t.Errorf("%q, %q", d.excerpt, p.Doors[0].Name)
	}
}

func TestParseRefusesLargeFiles(t *testing.T) {
	large := bytes.Repeat([]byte("\n"), MaxSize+1)
	if p, ds := Parse("policy.toml", large); p != nil || !ds.HasErrors() {
		t.Error("Parse accepts it")
	}
	if out, ds := Format("policy.toml", large); out != nil || !ds.HasErrors() {
		t.Error("Format accepts it")
	}
	if _, ds := Format("policy.toml", large[1:]); ds.HasErrors() {
		t.Error("Format refuses the largest file")
	}
}

// Where the library's own decoder sees a mistake Parse sees one as well.
func checkAgainstLibrary(t testing.TB, text []byte, ds Diagnostics) {
	var any map[string]any
	if err := toml.Unmarshal(text, &any); err != nil && !ds.HasErrors() {
		t.Errorf("accepted, but go-toml says: %v\n%s", err, text)
	}
}

// checkParse checks what holds for the outcome of Parse on any text.
func checkParse(t testing.TB, text []byte) *Policy {
	t.Helper()
	p, ds := Parse("policy.toml", text)
	if (p == nil) != ds.HasErrors() {
		t.Fatalf("policy %v with %v", p, ds)
	}
	lines := bytes.Split(text, []byte("\n"))
	for i, d := range ds {
		if d.Text == "" || strings.ContainsAny(d.Text, "\n\r") || d.File != "policy.toml" {
			t.Errorf("diagnostic %+v", d)
		}
		if strings.HasSuffix(d.Text, "not shown") {
			continue
		}
		if i > 0 && ds[i-1].Pos.Compare(d.Pos) > 0 {
			t.Errorf("%v stands before %v", ds[i-1].Pos, d.Pos)
		}
		if d.Pos.IsZero() {
			continue
		}
		if d.Pos.Line < 1 || d.Pos.Line > len(lines) || d.Pos.Column < 1 || d.Pos.Column > len(lines[d.Pos.Line-1])+1 {
			t.Fatalf("%v is outside the file of %d lines: %s", d.Pos, len(lines), d)
		}
	}
	if len(ds) > 2*maxDiagnostics+2 {
		t.Errorf("%d diagnostics", len(ds))
	}
	var out bytes.Buffer
	if err := ds.Write(&out, Style{}); err != nil {
		t.Fatal(err)
	}
	if i := bytes.IndexFunc(out.Bytes(), func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }); i >= 0 {
		t.Errorf("a control character is shown: %q", out.Bytes()[i:])
	}
	if _, err := json.Marshal(ds); err != nil {
		t.Error(err)
	}
	if p != nil {
		checkPolicy(t, p)
	}
	return p
}

// checkPolicy checks what holds for every policy without errors.
func checkPolicy(t testing.TB, p *Policy) {
	t.Helper()
	if len(p.Doors) == 0 {
		t.Error("no doors")
	}
	for _, d := range p.Doors {
		if len(d.Opens) == 0 || len(d.Knocks)+len(d.Users) < 1 || len(d.Knocks) > MaxKnocks || nameHint(d.Name) != "" {
			t.Errorf("door %+v", d)
		}
		if d.Once != (d.OpenFor == 0) || d.OpenFor < 0 || d.OpenFor > MaxOpenFor {
			t.Errorf("door %s is open for %s, once %v", d.Name, d.OpenFor, d.Once)
		}
		for i, u := range d.Users {
			if nameHint(u.Name) != "" || i > 0 && u.Name <= d.Users[i-1].Name || u.Pool < MinPool || u.Pool > MaxPool {
				t.Errorf("user %+v", u)
			}
			switch sequence := u.Kind == Sequence; {
			case u.Kind != Token && !sequence,
				sequence && (u.First.Number == 0 || u.Length < MinLength || u.Length > MaxLength || u.Ports.Size() < MinPorts),
				!sequence && (u.First != port.Port{} || u.Length != 0 || u.Ports.Size() < 1),
				p.Live().Bits(u) < leastUserBits:
				t.Errorf("user %+v", u)
			}
		}
		for _, f := range d.From {
			if f != f.Masked() || f.Addr().Is4In6() || f.Addr().Zone() != "" {
				t.Errorf("door %s from %s", d.Name, f)
			}
		}
	}
	if k := p.Knocking; k.StepTimeout <= 0 || k.StepTimeout > Day || k.PerSource < 1 || k.Sources < 1 || k.Sources > MaxSources {
		t.Errorf("knocking %+v", k)
	}
	if p.Audit(Host{EphemeralFirst: 32768, EphemeralLast: 60999, FileMode: 0o644}).HasErrors() {
		t.Error("Audit gives errors")
	}
	if len(p.Hash()) != 64 {
		t.Error("hash")
	}
}

func seeds(f *testing.F) {
	for _, dir := range []string{"bad", "good", "fmt"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.toml"))
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
}

func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		checkParse(t, text)
		if len(text) < 1<<14 { // the library needs quadratic time
			_, ds := Parse("policy.toml", text)
			checkAgainstLibrary(t, text, ds)
		}
	})
}

func FuzzFormat(f *testing.F) {
	seeds(f)
	f.Fuzz(checkFormat)
}

// checkFormat checks that formatting keeps a policy's meaning, and the mistakes
// in it.
func checkFormat(t *testing.T, text []byte) {
	got, ds := Format("policy.toml", text)
	before, beforeDiagnostics := Parse("policy.toml", text)
	if ds.HasErrors() {
		if before != nil {
			t.Fatalf("a policy is refused: %v", ds)
		}
		return
	}
	sameText(t, text, got)
	after, afterDiagnostics := Parse("policy.toml", got)
	if diff := cmp.Diff(before, after, samePolicy); diff != "" {
		t.Errorf("not the same policy (-before +after):\n%s", diff)
	}
	if len(beforeDiagnostics) != len(afterDiagnostics) {
		t.Errorf("%d diagnostics before, %d after:\n%v\n%v", len(beforeDiagnostics), len(afterDiagnostics), beforeDiagnostics, afterDiagnostics)
	}
}
