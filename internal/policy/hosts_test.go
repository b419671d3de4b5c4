package policy

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"tirl/internal/port"
)

const hostsText = `[host.web]
names     = ["www.example.com"]
addresses = ["192.0.2.7", "2001:db8::7", "fe80::7%eth0"]
delay     = "250ms"

[host.web.door.ssh]
opens    = ["tcp/22", "tcp/8000-8010"]
knocks   = ["udp/27719", "tcp/8816", "udp/15302"]
open_for = "once"

[host.web.door.vpn]
opens    = ["udp/51820"]
knocks   = ["udp/27719", "udp/15302"]
open_for = "2m"

[host.web.door.git]
opens    = ["tcp/2222"]
open_for = "30s"
one_time = "token"
secret   = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ports    = "40213"
pool     = 16
start    = 0

[host.web.door.admin]
opens    = ["tcp/23"]
open_for = "once"
one_time = "sequence"
secret   = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
first    = "udp/40213"
length   = 7
ports    = "1024-65535"
pool     = 256
start    = 512

[host."nas.example.org"]
resolve = true

[host.pair]
addresses = ["192.0.2.8", "a.example.org", "b.example.org"]
resolve   = true
`

func udp(n uint16) port.Port { return port.Port{Proto: port.UDP, Number: n} }
func tcp(n uint16) port.Port { return port.Port{Proto: port.TCP, Number: n} }

func addrs(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// counting is a secret of the bytes 0, 1, 2 ...
func counting() (secret [32]byte) {
	for i := range secret {
		secret[i] = byte(i)
	}
	return secret
}

func mustParseHosts(t *testing.T, text string) Hosts {
	t.Helper()
	h, found := ParseHosts("hosts.toml", []byte(text))
	if len(found) > 0 {
		t.Fatalf("%s\n%s", text, rendered(t, found))
	}
	return h
}

func TestParseHosts(t *testing.T) {
	got := mustParseHosts(t, hostsText)
	want := Hosts{
		{
			Name: "web", Names: []string{"www.example.com"}, Delay: 250 * time.Millisecond,
			Addresses: addrs("192.0.2.7", "2001:db8::7", "fe80::7%eth0"),
			Doors: []Door{
				{Name: "ssh", Opens: []port.Range{{Proto: port.TCP, First: 22, Last: 22}, {Proto: port.TCP, First: 8000, Last: 8010}},
					Knocks: []port.Port{udp(27719), tcp(8816), udp(15302)}, Once: true},
				{Name: "vpn", Opens: []port.Range{{Proto: port.UDP, First: 51820, Last: 51820}},
					Knocks: []port.Port{udp(27719), udp(15302)}, OpenFor: 2 * time.Minute},
				{Name: "git", Opens: []port.Range{{Proto: port.TCP, First: 2222, Last: 2222}}, OpenFor: 30 * time.Second,
					Credential: &Credential{User: User{Kind: Token, Ports: port.Span{First: 40213, Last: 40213}, Pool: 16}, Secret: counting()}},
				{Name: "admin", Opens: []port.Range{{Proto: port.TCP, First: 23, Last: 23}}, Once: true,
					Credential: &Credential{User: User{Kind: Sequence, First: udp(40213), Length: 7, Ports: DefaultPorts(), Pool: 256}, Secret: counting(), Start: 512}},
			},
		},
		{Name: "nas.example.org", Lookups: []string{"nas.example.org"}},
		{Name: "pair", Addresses: addrs("192.0.2.8"), Lookups: []string{"a.example.org", "b.example.org"}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	var text strings.Builder
	for i, h := range got {
		if i > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(h.Text())
	}
	if diff := cmp.Diff(hostsText, text.String()); diff != "" {
		t.Errorf("written again (-read +written):\n%s", diff)
	}
}

func TestFindHost(t *testing.T) {
	hosts := mustParseHosts(t, hostsText)
	for name, want := range map[string]string{
		"web": "web", "WEB": "web", "www.Example.com": "web", "192.0.2.7": "web", "2001:DB8:0::7": "web",
		"nas.example.org": "nas.example.org", "192.0.2.9": "", "we": "", "": "", "a.example.org": "",
	} {
		if got, ok := hosts.Find(name); got.Name != want || ok != (want != "") {
			t.Errorf("%q is %q, %v", name, got.Name, ok)
		}
	}
	for p, want := range map[port.Port]string{tcp(22): "ssh", tcp(8005): "ssh", udp(51820): "vpn", udp(22): "", tcp(8011): ""} {
		if got, _ := hosts[0].DoorOf(p); got.Name != want {
			t.Errorf("%s is opened by door %q, want %q", p, got.Name, want)
		}
	}
	if d, ok := hosts[0].Door("vpn"); !ok || d.Name != "vpn" {
		t.Errorf("door vpn: %v, %v", d, ok)
	}
	if !hosts.HasSecrets() || (Hosts{hosts[1]}).HasSecrets() {
		t.Error("it is the first host that has secrets")
	}
	if _, ok := hosts[0].Door("mail"); ok {
		t.Error("there is a door that is not in the file")
	}
}

// All mistakes are reported, each at its place.
func TestBadHosts(t *testing.T) {
	inputs(t, "hosts", func(t *testing.T, base string, text []byte) {
		hosts, found := ParseHosts("hosts.toml", text)
		if hosts != nil {
			t.Errorf("hosts in spite of errors: %v", hosts)
		}
		golden(t, base+".txt", rendered(t, found))
	})
}

func TestHostsTooLarge(t *testing.T) {
	if _, found := ParseHosts("h", make([]byte, MaxSize+1)); !found.HasErrors() {
		t.Error("no error")
	}
}

// What Text writes is read as what was meant.
func TestHostsTextProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ports := rapid.Uint16Range(1, 65535)
		proto := rapid.SampledFrom([]port.Proto{port.TCP, port.UDP})
		r := Remote{
			Name:      rapid.StringMatching(`[a-z0-9_][A-Za-z0-9._:-]{0,20}`).Draw(t, "name"),
			Names:     rapid.SliceOfNDistinct(rapid.StringMatching(`zz[a-z.]{1,9}`), 0, 3, rapid.ID).Draw(t, "names"),
			Addresses: rapid.SliceOfNDistinct(rapid.SampledFrom(addrs("192.0.2.1", "10.0.0.1", "2001:db8::1", "fe80::1%a")), 1, 3, rapid.ID).Draw(t, "addresses"),
			Delay:     time.Duration(rapid.IntRange(0, 60000).Draw(t, "delay")) * time.Millisecond,
		}
		if rapid.Bool().Draw(t, "resolve") {
			r.Lookups = rapid.SampledFrom([][]string{{r.Name}, {"a.b"}, {"x", "y"}}).Draw(t, "lookups")
			if strings.Contains(r.Name, ":") {
				r.Lookups = []string{r.Name}
			}
		}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9][a-z0-9_-]{0,8}`), 0, 3, rapid.ID).Draw(t, "doors") {
			first := ports.Draw(t, "first")
			d := Door{
				Name:  name,
				Opens: []port.Range{{Proto: proto.Draw(t, "proto"), First: first, Last: rapid.Uint16Range(first, 65535).Draw(t, "last")}},
			}
			for range rapid.IntRange(0, MaxKnocks).Draw(t, "knocks") {
				d.Knocks = append(d.Knocks, port.Port{Proto: proto.Draw(t, "proto"), Number: ports.Draw(t, "port")})
			}
			if d.Knocks == nil {
				d.Credential = drawCredential(t)
			}
			if d.Once = rapid.Bool().Draw(t, "once"); !d.Once {
				d.OpenFor = time.Duration(rapid.Int64Range(1, int64(MaxOpenFor/time.Millisecond)).Draw(t, "open_for")) * time.Millisecond
			}
			r.Doors = append(r.Doors, d)
		}
		got, found := ParseHosts("h", []byte(r.Text()))
		if len(found) > 0 {
			t.Fatalf("%s\n%v", r.Text(), found)
		}
		if diff := cmp.Diff(Hosts{r}, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s\n%s", r.Text(), diff)
		}
	})
}

func drawCredential(t *rapid.T) *Credential {
	c := &Credential{User: User{Kind: Token, Pool: rapid.IntRange(MinPool, MaxPool).Draw(t, "pool")}, Start: uint64(rapid.Uint16().Draw(t, "start"))}
	c.Ports.First = rapid.Uint16Range(1, 65535-MinPorts).Draw(t, "first port")
	c.Ports.Last = rapid.Uint16Range(c.Ports.First+MinPorts-1, 65535).Draw(t, "last port")
	copy(c.Secret[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret"))
	if rapid.Bool().Draw(t, "sequence") {
		c.Kind, c.Length = Sequence, rapid.IntRange(MinLength, MaxLength).Draw(t, "length")
		c.First = port.Port{Proto: port.UDP, Number: rapid.Uint16Range(1, 65535).Draw(t, "first")}
	}
	return c
}

// FuzzParseHosts: no panic, no position outside of the file, and what is
// accepted can be written and read again.
func FuzzParseHosts(f *testing.F) {
	f.Add([]byte(hostsText))
	if text, err := os.ReadFile("testdata/hosts/bad.toml"); err == nil {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		hosts, found := ParseHosts("h", text)
		if (hosts == nil) != (found.HasErrors() || len(hosts) == 0) {
			t.Fatalf("%d hosts, and %v", len(hosts), found)
		}
		for _, h := range hosts {
			again, found := ParseHosts("h", []byte(h.Text()))
			if found.HasErrors() {
				t.Fatalf("%s\n%v", h.Text(), found)
			}
			if diff := cmp.Diff(Hosts{h}, again, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s\n%s", h.Text(), diff)
			}
		}
	})
}

// The hosts file of docs/client.md is one.
func TestDocumentedHosts(t *testing.T) {
	text, err := os.ReadFile("../../docs/client.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```toml hosts\n")
	example, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("docs/client.md shows no hosts file")
	}
	if hosts := mustParseHosts(t, example); len(hosts) != 1 || len(hosts[0].Doors) != 1 {
		t.Errorf("%d hosts", len(hosts))
	}
	for _, key := range []string{"addresses", "names", "resolve", "delay"} {
		if !strings.Contains(string(text), "| `"+key+"` |") {
			t.Errorf("the key %s is not in the table", key)
		}
	}
}
