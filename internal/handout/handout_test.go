package handout

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"tirl/internal/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

const doors = `
[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/27719", "udp/8816", "udp/15302", "udp/61111", "udp/20213"]

[door.vpn]
opens    = ["udp/51820"]
knocks   = ["udp/13521", "tcp/8443", "udp/29012", "udp/18274"]
open_for = "once"
from     = ["203.0.113.0/24"]
`

func self() policy.Remote {
	return policy.Remote{Name: "web", Names: []string{"web.example.org"},
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}}
}

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, found := policy.Parse("p", []byte(text))
	if found.HasErrors() {
		t.Fatal(found)
	}
	return p
}

func mustNew(t *testing.T, text string, names ...string) *Handout {
	t.Helper()
	h, err := New(parse(t, text), self(), names...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A user gets what is his, and nothing of the others or of the knocks.
func TestUser(t *testing.T) {
	const text = doors + `
[door.ssh.users.alice]
one_time = "sequence"
first    = "udp/4711"

[door.git]
opens = ["tcp/2222"]

[door.git.users.bob]
one_time = "token"
`
	p := parse(t, text)
	c := policy.Credential{User: p.Doors[0].Users[0], Start: 512}
	h, err := NewUser(p, self(), map[string]policy.Credential{"ssh": c})
	if err != nil {
		t.Fatal(err)
	}
	hosts, found := policy.ParseHosts("h", []byte(h.Entry()))
	if len(found) > 0 || len(hosts) != 1 || len(hosts[0].Doors) != 1 {
		t.Fatalf("%s\n%v", h.Entry(), found)
	}
	c.Name = "" // which is the host's business
	if got := hosts[0].Doors[0].Credential; got == nil || *got != c {
		t.Errorf("%+v, want %+v", got, c)
	}
	var out bytes.Buffer
	if err := h.WriteText(&out); err != nil || strings.Contains(out.String(), "nc -u") || !strings.Contains(out.String(), "On one device only") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := h.WriteQR(&bytes.Buffer{}, false); err != nil {
		t.Error(err)
	}
	if h := mustNew(t, text); len(h.Remote.Doors) != 2 || strings.Contains(h.Entry(), "one_time") {
		t.Errorf("without a user:\n%s", h.Entry())
	}
	if _, err := New(p, self(), "git"); err == nil || !strings.HasSuffix(err.Error(), "tirl export bob") {
		t.Errorf("a door of users only: %v", err)
	}
	if _, err := NewUser(p, self(), nil); err == nil {
		t.Error("a user without doors: no error")
	}
}

func TestText(t *testing.T) {
	for name, text := range map[string]string{
		"usual": doors,
		"reset": "[knocking]\nduplicates = \"reset\"\n" + doors,
		"quick": "[knocking]\nstep_timeout = \"500ms\"\n" + doors,
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := mustNew(t, text).WriteText(&got); err != nil {
				t.Fatal(err)
			}
			file := "testdata/" + name + ".toml"
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The whole text is a hosts file, and says what the policy says.
func TestTextIsAHostsFile(t *testing.T) {
	h := mustNew(t, doors, "vpn")
	var text bytes.Buffer
	if err := h.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	// Behind what somebody wrote by hand, too.
	hosts, found := policy.ParseHosts("h", append([]byte("[host.other]\naddresses = [\"192.0.2.1\"]"), text.Bytes()...))
	if len(found) > 0 || len(hosts) != 2 {
		t.Fatalf("%d hosts, %v", len(hosts), found)
	}
	want := self()
	want.Doors = []policy.Door{parse(t, doors).Doors[1]}
	want.Doors[0].From = nil
	if diff := cmp.Diff(want, hosts[1], cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestNewRefuses(t *testing.T) {
	nowhere, misnamed := self(), self()
	nowhere.Addresses = nil
	misnamed.Name = "my web"
	for _, tt := range []struct {
		self policy.Remote
		door string
		want string
	}{
		{self(), "mail", `no door "mail"`},
		{nowhere, "ssh", "no address"},
		{misnamed, "ssh", `"my web" is no name for a host`},
	} {
		if _, err := New(parse(t, doors), tt.self, tt.door); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

// The knocks of a client with the entry are heard, and come in time.
func TestDelay(t *testing.T) {
	for _, tt := range []struct {
		knocking string
		want     time.Duration
	}{
		{"", 0},
		{`step_timeout = "none"`, 0},
		{`step_timeout = "1s"`, 0},
		{`step_timeout = "500ms"`, 50 * time.Millisecond},
		{`step_timeout = "1ms"`, time.Millisecond},
		{`per_source = "3/second"`, 0},                       // six tokens are enough for five knocks and a connection
		{`per_source = "2/second"`, 501 * time.Millisecond},  // four are not
		{`per_source = "1/second"`, 1000 * time.Millisecond}, // bounded by the step timeout
	} {
		if got := mustNew(t, "[knocking]\n"+tt.knocking+doors).Remote.Delay; got != tt.want {
			t.Errorf("%s: %v, want %v", tt.knocking, got, tt.want)
		}
	}
}

// A reader of another library, made from the ZXing of phones, reads the code
// from what the terminal shows.
func TestQR(t *testing.T) {
	for _, colour := range []bool{false, true} {
		for _, names := range [][]string{{"ssh"}, {"ssh", "vpn"}} {
			h := mustNew(t, doors, names...)
			var shown bytes.Buffer
			if err := h.WriteQR(&shown, colour); err != nil {
				t.Fatal(err)
			}
			bitmap, err := gozxing.NewBinaryBitmapFromImage(screen(t, shown.String(), colour))
			if err != nil {
				t.Fatal(err)
			}
			got, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
			if err != nil {
				t.Fatalf("in colour: %v: %v\n%s", colour, err, shown.String())
			}
			if diff := cmp.Diff(h.Entry(), got.GetText()); diff != "" {
				t.Errorf("in colour: %v: (-entry +read)\n%s", colour, diff)
			}
			for line := range strings.Lines(shown.String()) {
				if n := len([]rune(line)); !colour && n > 80 {
					t.Errorf("%v: %d columns", names, n)
					break
				}
			}
		}
	}
}

// screen paints half blocks with pixels: in colour black on white, otherwise with
// the light colour of a dark terminal.
func screen(t *testing.T, shown string, colour bool) image.Image {
	t.Helper()
	const scale = 3
	var rows [][]bool // true: painted
	lines := bufio.NewScanner(strings.NewReader(shown))
	for lines.Scan() {
		line := lines.Text()
		if colour {
			var begins, ends bool
			line, begins = strings.CutPrefix(line, "\x1b[38;5;16;48;5;231m")
			line, ends = strings.CutSuffix(line, "\x1b[0m")
			if !begins || !ends {
				t.Fatalf("no colour in %q", line)
			}
		}
		var upper, lower []bool
		for _, c := range line {
			upper = append(upper, c == '█' || c == '▀')
			lower = append(lower, c == '█' || c == '▄')
		}
		rows = append(rows, upper, lower)
	}
	img := image.NewGray(image.Rect(0, 0, scale*len(rows[0]), scale*len(rows)))
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			if rows[y/scale][x/scale] != colour {
				img.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	return img
}

func TestTooLargeForAQRCode(t *testing.T) {
	var text strings.Builder
	for i := range 60 {
		fmt.Fprintf(&text, "[door.door%d]\nopens = [\"tcp/22\"]\nknocks = [\"udp/%d\", \"udp/%d\", \"udp/7777\"]\n", i, 1000+i, 40000-50*i)
	}
	h := mustNew(t, text.String())
	if err := h.WriteQR(&bytes.Buffer{}, false); err == nil || !strings.Contains(err.Error(), "QR code") {
		t.Errorf("%d bytes: error %v", len(h.Entry()), err)
	}
	broken := errors.New("broken")
	if err := h.WriteText(failing{broken}); !errors.Is(err, broken) {
		t.Errorf("a broken output: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
