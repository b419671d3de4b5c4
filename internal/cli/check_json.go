package cli

import (
	"math"
	"strings"

	"tirl/internal/audit"
	"tirl/internal/backend"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// reportJSON is what check prints for programs.
type reportJSON struct {
	File        string             `json:"file"`
	OK          bool               `json:"ok"`
	Diagnostics policy.Diagnostics `json:"diagnostics"`
	// What follows is there only if the policy could be read.
	Mode       policy.Mode     `json:"mode,omitempty"`
	PolicyHash string          `json:"policy_hash,omitempty"`
	Backend    string          `json:"backend,omitempty"` // that would carry it, as far as the policy goes
	Backends   []backendReport `json:"backends,omitempty"`
	Guesser    *guesserReport  `json:"guesser,omitempty"`
	Doors      []doorReport    `json:"doors,omitempty"`
	Services   []serviceReport `json:"services,omitempty"` // that more than one door opens
}

type backendReport struct {
	Name     string          `json:"name"`
	Able     bool            `json:"able"`
	Problems []problemReport `json:"problems"`
}

type problemReport struct {
	Key     string `json:"key"`
	Text    string `json:"text"`
	Hint    string `json:"hint"`
	Warning bool   `json:"warning"`
}

type doorReport struct {
	Name      string   `json:"name"`
	Opens     []string `json:"opens"`
	OpenFor   float64  `json:"open_seconds"` // 0: for one connection
	Knocks    int      `json:"knocks"`
	Protocols []string `json:"protocols"` // of the knocks
	From      bool     `json:"from"`      // it opens to some addresses only
	doorAudit
}

func (r *report) json() reportJSON {
	out := reportJSON{File: r.doc.file, OK: !r.doc.found.HasErrors(), Diagnostics: r.doc.found}
	if out.Diagnostics == nil {
		out.Diagnostics = policy.Diagnostics{}
	}
	if r.program == nil {
		return out
	}
	out.Mode, out.PolicyHash, out.Backends = r.doc.policy.Mode, r.program.PolicyHash, r.backends
	if len(r.able) > 0 {
		out.Backend = r.able[0].Name
	}
	found := audit.Of(r.doc.policy)
	out.Guesser = &guesserReport{int(math.Round(audit.LineRate)), r.doc.policy.Knocking.PerSource, found.Buckets}
	out.Services = serviceReports(found.Services)
	for i, d := range found.Doors {
		door := &r.doc.policy.Doors[i]
		report := doorReport{
			Name: d.Name, Opens: rangeNames(door.Opens), OpenFor: door.OpenFor.Seconds(), Knocks: len(door.Knocks),
			Protocols: protocols(door), From: len(door.From) > 0, doorAudit: doorAuditOf(d),
		}
		report.Replay = len(door.Knocks) > 0
		out.Doors = append(out.Doors, report)
	}
	return out
}

func problemReports(problems []backend.Problem) []problemReport {
	list := make([]problemReport, len(problems))
	for i, p := range problems {
		list[i] = problemReport{p.Key, p.Text, p.Hint, p.Warning}
	}
	return list
}

func rangeNames(list []port.Range) []string {
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = r.String()
	}
	return names
}

func ranges(list []port.Range) string { return strings.Join(rangeNames(list), ", ") }
