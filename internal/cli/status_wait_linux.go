package cli

import (
	"fmt"
	"time"

	"tirl/internal/confirm"
)

// waitJSON is a load that waits to be confirmed.
type waitJSON struct {
	Until   time.Time `json:"until"`
	Left    float64   `json:"left_seconds"`
	From    string    `json:"from,omitempty"` // the connection of who has applied
	Watched bool      `json:"watched"`        // false: its watchdog was killed
	Error   string    `json:"error,omitempty"`
}

// endedJSON is a wait that has ended.
type endedJSON struct {
	Outcome confirm.Outcome `json:"outcome"` // confirmed or rolledback
	How     string          `json:"how"`
	At      *time.Time      `json:"at,omitempty"`
}

func (v *view) pendingJSON() *waitJSON {
	p := v.Pending
	if p == nil {
		return nil
	}
	out := &waitJSON{Until: p.Until, Left: waitLeft(p).Seconds(), Watched: v.Watched, Error: p.Failed}
	if p.Session != nil {
		out.From = p.Session.Conn.String()
	}
	return out
}

func (v *view) lastWaitJSON() *endedJSON {
	if v.Last == nil {
		return nil
	}
	out := &endedJSON{Outcome: v.Outcome, How: v.Last.How}
	if !v.Last.Ended.IsZero() {
		out.At = &v.Last.Ended
	}
	return out
}

func waitLeft(p *confirm.Pending) time.Duration { return max(0, time.Until(p.Until)) }

// waiting says in lines of status how it stands with the confirmation.
func (v *view) waiting() []string {
	var lines []string
	if p := v.Pending; p != nil {
		line := "unconfirmed: taken back in " + spoken(waitLeft(p).Truncate(time.Second))
		if !p.Loaded {
			line = "unconfirmed: being loaded, or being taken back"
		}
		if p.Session != nil {
			line += "; applied by " + p.Session.Conn.String()
		}
		return append(lines, line)
	}
	if last := v.Last; last != nil {
		word := map[confirm.Outcome]string{confirm.Confirmed: "confirmed:", confirm.RolledBack: "taken back:"}[v.Outcome]
		if last.Ended.IsZero() {
			return append(lines, word+" nobody could write down how")
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s", word, moment(last.Ended), last.How))
	}
	return lines
}

// printWait says what is wrong with a wait.
func (a *app) printWait(v *view) {
	p := v.Pending
	if p == nil {
		return
	}
	if p.Failed != "" {
		a.warn("the policy could not be taken back yet: %s", p.Failed)
	}
	if !v.Watched {
		a.warn("the watchdog that would take the policy back was killed")
		a.hint("to keep it: sudo tirl confirm; to take it back: sudo tirl rollback")
	}
}

func (a *app) printLines(lines []string) error {
	for _, line := range lines {
		if err := a.print(line + "\n"); err != nil {
			return err
		}
	}
	return nil
}
