package neighbours

import (
	"encoding/json"

	"tirl/internal/doctor"
)

// findings are what doctor says in JSON.
func (s *site) findings() []doctor.Finding {
	s.Helper()
	cmd := s.command("/proc/self/exe", "--root", s.root, "doctor", "--json")
	cmd.Env = append(cmd.Env, asTirl+"=1")
	out, code := s.run(s.Server, cmd)
	var report struct {
		Healthy  bool
		Findings []doctor.Finding
		Errors   []string
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		s.Fatalf("doctor: %v\n%s", err, out)
	}
	if want := map[bool]int{true: 0, false: 5}[report.Healthy]; code != want || len(report.Errors) > 0 {
		s.Fatalf("doctor: exit code %d, want %d\n%s", code, want, out)
	}
	return report.Findings
}
