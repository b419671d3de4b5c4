package backend

import (
	"context"
	"time"
)

// Snapshot is everything that one backend has in the kernel, in a form that can
// be kept as JSON and put back by the same backend.
type Snapshot struct {
	Backend string         `json:"backend"`
	Parts   []SnapshotPart `json:"parts"` // none: nothing is loaded
}

// SnapshotPart is what one program lists of a backend's rules and sources.
type SnapshotPart struct {
	Name string `json:"name"` // as File.Name
	Text string `json:"text"`
}

// Empty says that the backend held nothing.
func (s *Snapshot) Empty() bool { return len(s.Parts) == 0 }

// Part gives the text of a part; empty if there is none.
func (s *Snapshot) Part(name string) string {
	for _, p := range s.Parts {
		if p.Name == name {
			return p.Text
		}
	}
	return ""
}

// Snapshotter keeps and puts back what is in the kernel, whichever policy it is of.
type Snapshotter interface {
	Snapshot(ctx context.Context) (*Snapshot, error)
	// Restore makes s, which is of the same backend, the only ruleset that this
	// backend has in the kernel; an empty one removes all. passed is the time since
	// it was taken: what would have ended by itself meanwhile does not come back.
	// Grants that were given meanwhile stay if the older policy has their class.
	// On an error the kernel holds what it held. Rules of others are not touched.
	Restore(ctx context.Context, s *Snapshot, passed time.Duration) error
}
