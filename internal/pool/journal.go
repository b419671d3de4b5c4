package pool

import (
	"encoding/json"
	"fmt"
	"slices"
)

// journal says what a refill is about to do, until it is done. Whoever finds one
// does not know how far it came: all that was to be loaded is then taken out, and
// is never loaded again.
type journal struct {
	Boot    string  `json:"boot_id"`
	Marker  uint32  `json:"marker"`
	Entries []entry `json:"entries"`
}

// entry is what is done to the values of one secret.
type entry struct {
	ID   string  `json:"id"`
	Drop []Range `json:"drop"`
	Load []Range `json:"load"`
}

const journalName = usersArea + "/under-way"

// readJournal gives nil if nothing is under way.
func readJournal(s Store) (*journal, error) {
	text, err := s.Read(journalName)
	switch {
	case missing(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	var j journal
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errJournal, journalName, err)
	}
	for _, e := range j.Entries {
		for _, r := range slices.Concat(e.Drop, e.Load) {
			if !r.sound() {
				return nil, fmt.Errorf("%w: %s: its ranges are no ranges", errJournal, journalName)
			}
		}
	}
	return &j, nil
}

func (j *journal) write(s Store) error {
	if len(j.Entries) == 0 {
		return s.Remove(journalName)
	}
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return s.Write(journalName, append(text, '\n'))
}

// of gives what was under way for a secret.
func (j *journal) of(id string) *entry {
	if j == nil {
		return nil
	}
	for i := range j.Entries {
		if j.Entries[i].ID == id {
			return &j.Entries[i]
		}
	}
	return nil
}
