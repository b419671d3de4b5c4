package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tirl/internal/atomicfile"
	"tirl/internal/backend"
)

// recordFormat numbers the layout of the record, for a later tirl.
const recordFormat = 1

// Record is what a load leaves behind under /var/lib/tirl: where the rules in
// the kernel came from, and what they were. It is one file, so that it is
// replaced as a whole.
type Record struct {
	Format     int       `json:"format"`
	Backend    string    `json:"backend"`
	PolicyHash string    `json:"policy_hash"`
	PolicyFile string    `json:"policy_file"`
	Applied    time.Time `json:"applied"`
	Version    string    `json:"tirl_version"`
	Boot       string    `json:"boot_id"` // of the kernel that it was loaded into
	Policy     string    `json:"policy"`  // the policy file's text
	Ruleset    []File    `json:"ruleset"` // as it was loaded
	Kernel     string    `json:"kernel"`  // as the kernel listed it right after
}

// File is one part of a recorded ruleset.
type File struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func (e *Engine) newRecord(in Input, name string, rules backend.Ruleset, kernel string) *Record {
	return &Record{
		Format: recordFormat, Backend: name, PolicyHash: in.Program.PolicyHash, PolicyFile: in.File,
		Applied: e.now().UTC().Truncate(time.Second), Version: e.Version, Boot: e.Boot, Policy: string(in.Source),
		Ruleset: files(rules), Kernel: kernel,
	}
}

func files(rules backend.Ruleset) []File {
	list := make([]File, len(rules))
	for i, f := range rules {
		list[i] = File{f.Name, f.Text}
	}
	return list
}

func (e *Engine) stateDir() string { return filepath.Join(e.Root, "/var/lib/tirl") }

func (e *Engine) recordPath() string { return filepath.Join(e.stateDir(), "active.json") }

// readRecord gives the record of the last load; nil if there is none.
func (e *Engine) readRecord() (*Record, error) {
	text, err := os.ReadFile(e.recordPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of the last load: %w", err)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read the record of the last load: %s: %w", e.recordPath(), err)
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("read the record of the last load: %s has the format %d, not %d", e.recordPath(), r.Format, recordFormat)
	}
	return &r, nil
}

// reserve sees to it that a record can be written, while nothing has been
// changed yet.
func (e *Engine) reserve() (*atomicfile.File, error) {
	dir := e.stateDir()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	// It holds the policy, and so the knocks: they are secret.
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("close the state directory to others: %w", err)
	}
	f, err := atomicfile.Create(e.recordPath(), 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the record of this load: %w", err)
	}
	return f, nil
}

// release gives back what reserve made and nobody used.
func (e *Engine) release(slot *atomicfile.File) {
	slot.Discard()
	os.Remove(e.stateDir()) // does nothing if there is a record
}

// write replaces the record.
func (r *Record) write(to *atomicfile.File) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = to.Commit(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the record of this load: %w", err)
	}
	return nil
}

// forget removes the record and its directory, if nothing else is in it.
func (e *Engine) forget() error {
	err := os.Remove(e.recordPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the record of the last load: %w", err)
	}
	atomicfile.Clean(e.recordPath())
	removeAll(e.sparePath())
	os.Remove(e.stateDir())
	return nil
}
