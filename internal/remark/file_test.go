package remark

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/policy"
)

func sample() *File {
	f := &File{Head: []Paragraph{Say("A policy."), Say(""), Show("a  command")}}
	f.Table("knocking").Set("step_timeout", String("5s"))
	t := f.Table("door.ssh")
	t.Remark(Say("- " + strings.Repeat("word ", 30)))
	t.Set("opens", Strings([]string{"tcp/22", "udp/22"}))
	k := t.Set("knocks", Strings([]string{"udp/40213", "udp/7719", "udp/28816"}))
	k.Remark(Say("tab\tand\x1b[31m colour"))
	t.Set("open_for", String("30s"))
	t = f.Table("door.swept")
	t.Set("opens", Strings([]string{"tcp/23"}))
	t.Set("knocks", Strings([]string{"udp/1", "udp/2", "udp/3"}))
	t.Tail = []Paragraph{Say("below")}
	f.Table("log")
	return f
}

func TestText(t *testing.T) {
	const want = `# A policy.
#
#     a  command

[knocking]
step_timeout = "5s"

# - word word word word word word word word word word word word word word word word word word word
#   word word word word word word word word word word word
[door.ssh]
opens = ["tcp/22", "udp/22"]
# tab and` + "\ufffd" + `[31m colour
knocks   = ["udp/40213", "udp/7719", "udp/28816"]
open_for = "30s"

# [door.swept]
# opens  = ["tcp/23"]
# knocks = ["udp/1", "udp/2", "udp/3"]
# below
`
	f := sample()
	p, found := f.Judge()
	if p == nil || len(p.Doors) != 1 {
		t.Fatalf("%v %v", p, found)
	}
	if diff := cmp.Diff(want, string(f.Text())); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if tidy, _ := policy.Format("x", f.Text()); string(tidy) != want {
		t.Errorf("not the usual layout:\n%s", tidy)
	}
}

func TestJudge(t *testing.T) {
	f := sample()
	f.Tables[1].Set("from", Strings([]string{"0.0.0.0/0", "0.0.0.0/0"}))
	_, found := f.Judge()
	if len(found) != 3 || found[0].Table != f.Tables[2] || found[0].Key.Name != "knocks" || found[0].Severity != policy.Error {
		t.Fatalf("%+v", found)
	}
	for i, key := range []string{"open_for", "from"} {
		if w := found[i+1]; w.Table != f.Tables[1] || w.Key.Name != key || w.Severity != policy.Warning {
			t.Errorf("%+v", w)
		}
	}
	if !f.Tables[2].Off || f.Tables[1].Off {
		t.Error("the wrong table is off")
	}

	// What clashes is off too, and at last there may be nothing.
	f = &File{}
	for _, name := range []string{"door.a", "door.b"} {
		t := f.Table(name)
		t.Set("opens", Strings([]string{"tcp/22"}))
		t.Set("knocks", Strings([]string{"udp/40213", "udp/7719", "tcp/22"}))
	}
	p, found := f.Judge()
	if p != nil || !f.Tables[0].Off || !f.Tables[1].Off {
		t.Errorf("%v", found)
	}
	for _, d := range found {
		if strings.Contains(d.Text, "on line") {
			t.Errorf("a line of another file: %s", d.Text)
		}
	}
	if got := f.Tables[0].Key("opens"); got == nil || f.Tables[0].Key("nonsense") != nil {
		t.Error("Key")
	}
}
