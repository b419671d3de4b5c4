package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tirl/internal/port"
)

func tokenUser(name string) User {
	return User{Name: name, Kind: Token, Ports: DefaultPorts(), Pool: DefaultPool}
}

func TestAddUser(t *testing.T) {
	bob := User{Name: "bob", Kind: Sequence, First: port.Port{Proto: port.UDP, Number: 40213}, Length: 7,
		Ports: port.Span{First: 20000, Last: 30000}, Pool: 64}
	const bobText = "one_time = \"sequence\"\nfirst    = \"udp/40213\"\nlength   = 7\nports    = \"20000-30000\"\npool     = 64\n"
	for _, c := range []struct {
		name, text string
		user       User
		want       string
	}{
		{"last", "[door.ssh]\nopens = [\n \"tcp/22\" # ]\n] # x", tokenUser("al"), "[door.ssh]\nopens = [\n \"tcp/22\" # ]\n] # x\n\n[door.ssh.users.al]\none_time = \"token\"\n"},
		{"between", "[door.ssh] # a\nopens = ['''tcp/22''']\nmotto = \"\"\"a\nb\"\"\"\n\n# web\n[door.web]\n", bob,
			"[door.ssh] # a\nopens = ['''tcp/22''']\nmotto = \"\"\"a\nb\"\"\"\n\n[door.ssh.users.bob]\n" + bobText + "\n# web\n[door.web]\n"},
		{"behind others", "[door.ssh]\n[door.ssh.users.al]\nx = { a = '}' }\n[door.web]\n", tokenUser("bo"),
			"[door.ssh]\n[door.ssh.users.al]\nx = { a = '}' }\n\n[door.ssh.users.bo]\none_time = \"token\"\n\n[door.web]\n"},
		{"lines of another kind", "[door.ssh]\r\n", tokenUser("al"), "[door.ssh]\r\n\r\n[door.ssh.users.al]\r\none_time = \"token\"\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ds := AddUser("policy.toml", []byte(c.text), "ssh", c.user)
			if diff := cmp.Diff(c.want, string(got)); len(ds) > 0 || diff != "" {
				t.Errorf("%v (-want +got):\n%s", ds, diff)
			}
		})
	}
}

func TestRemoveUser(t *testing.T) {
	const user = "[door.ssh.users.bob]\none_time = \"token\" # x\n"
	for _, c := range []struct{ name, text, want string }{
		{"last", "[door.ssh]\n\n" + user, "[door.ssh]\n"},
		{"alone", user, ""},
		{"between", "[door.ssh]\n# stays\n\n# goes\n  # too\n" + user + "\n# stays\n[door.web]\n", "[door.ssh]\n# stays\n\n# stays\n[door.web]\n"},
		{"without empty lines", "[door.ssh]\n" + user + "[door.web]\n", "[door.ssh]\n[door.web]\n"},
		{"comments behind", "[door.ssh]\n" + user + "# stays\n", "[door.ssh]\n# stays\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ds := RemoveUser("policy.toml", []byte(c.text), "ssh", "bob")
			if diff := cmp.Diff(c.want, string(got)); len(ds) > 0 || diff != "" {
				t.Errorf("%v (-want +got):\n%s", ds, diff)
			}
		})
	}
}

func TestEditUsersRefuses(t *testing.T) {
	for _, c := range []struct {
		remove     bool
		text, want string
	}{
		{false, "[door.a]\n", `policy.toml: error: there is no door "ssh"`},
		{false, "[door.ssh]\n[door.ssh.users.bob]\n", `policy.toml:2:17: error: door "ssh" has a user "bob" already`},
		{false, "door.ssh = {}\n", `policy.toml:1:6: error: door "ssh" has its users within a line`},
		{false, "[door.ssh]\nusers.al.one_time = 'token'\n", `policy.toml:1:7: error: door "ssh" has its users within a line`},
		{false, "[door.ssh]\nusers = 1\n", `policy.toml:1:7: error: door "ssh" has its users within a line`},
		{false, "[door.ssh\n", "policy.toml:1:10: error: expected"},
		{true, "[door.ssh]\n", `policy.toml: error: door "ssh" has no user "bob"`},
		{true, "[door.ssh]\nusers.bob = {}\n", `policy.toml:2:7: error: user "bob" is no table of its own`},
	} {
		change := func() ([]byte, Diagnostics) {
			if c.remove {
				return RemoveUser("policy.toml", []byte(c.text), "ssh", "bob")
			}
			return AddUser("policy.toml", []byte(c.text), "ssh", tokenUser("bob"))
		}
		if got, ds := change(); got != nil || len(ds) != 1 || !strings.HasPrefix(ds[0].String(), c.want) {
			t.Errorf("%q: %q, %v, want %s", c.text, got, ds, c.want)
		}
	}
}

// Whatever the text, a user that is added is there, nothing else has changed, and
// to remove him again leaves all that there was.
func TestUsersProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := sloppyText(t)
		before, ds := tokens([]byte(text))
		if ds.HasErrors() {
			return
		}
		for _, door := range []string{"a", "b"} {
			added, ds := AddUser("policy.toml", []byte(text), door, tokenUser("zoe"))
			if len(ds) > 0 {
				continue
			}
			after, ds := tokens(added)
			if ds.HasErrors() {
				t.Fatalf("%v in\n%s\nmade of\n%s", ds, added, text)
			}
			if diff := cmp.Diff(without(before, "none"), without(after, "none")); !strings.Contains(diff, "one_time") {
				t.Fatalf("no user was added to\n%s", text)
			}
			removed, ds := RemoveUser("policy.toml", added, door, "zoe")
			if len(ds) > 0 {
				t.Fatalf("%v in\n%s", ds, added)
			}
			again, ds := tokens(removed)
			if diff := cmp.Diff(before, again); ds.HasErrors() || diff != "" {
				t.Fatalf("%v: (-before +after):\n%s\nin\n%s\nmade of\n%s", ds, diff, removed, text)
			}
		}
	})
}
