package remark

import (
	"regexp"

	"tirl/internal/policy"
)

// Finding is what the policy package says of a part of a file.
type Finding struct {
	Table *Table
	Key   *Key // nil: of the table
	policy.Diagnostic
}

// lineNumber is where a diagnostic speaks of another line, of a file that will
// look otherwise in the end.
var lineNumber = regexp.MustCompile(` on line \d+`)

// Judge turns off every table that the policy package refuses, until it accepts
// the rest. It gives what was said: the errors, then the warnings about what is
// left. The policy is nil if nothing is left.
func (f *File) Judge() (p *policy.Policy, found []Finding) {
	for {
		w := f.write(true)
		p, ds := policy.Parse("policy.toml", w.out.Bytes())
		refused := map[*Table]bool{}
		for _, d := range ds {
			at := w.lines[d.Pos.Line]
			if at.table == nil || p == nil && d.Severity != policy.Error {
				continue
			}
			d.Text = lineNumber.ReplaceAllString(d.Text, "")
			found = append(found, Finding{at.table, at.key, d})
			if d.Severity == policy.Error {
				refused[at.table] = true
			}
		}
		for t := range refused {
			t.Off = true
		}
		if p != nil || len(refused) == 0 {
			return p, found
		}
	}
}
