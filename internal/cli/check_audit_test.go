package cli

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// Every field that check --json has for the audit is explained.
func TestAuditFieldsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(doc), "## For programs")
	if !ok {
		t.Fatal("docs/audit.md says nothing to programs")
	}
	for _, report := range []any{doorReport{}, patternReport{}, sharedReport{}, serviceReport{}, guesserReport{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(report)) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("docs/audit.md does not explain %s", name)
			}
		}
	}
}
