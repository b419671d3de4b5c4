// Package install puts the boot script and the systemd units in their places and
// enables them, and takes them out again.
package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tirl/dist"
	"tirl/internal/atomicfile"
	"tirl/internal/tool"
)

// Names of units.
const (
	Service = "tirl.service"
	heal    = "tirl-heal.service"
	Timer   = "tirl-heal.timer"
	// What keeps users supplied does nothing where there are none.
	refill      = "tirl-refill.service"
	RefillTimer = "tirl-refill.timer"
)

// Where an administrator's units are, and where a package's may be
// (systemd.unit(5)).
const (
	unitDir     = "/etc/systemd/system"
	packageDir  = "/usr/lib/systemd/system"
	packageDir2 = "/lib/systemd/system"
)

// ErrNoSystemd says that this host is started by something else.
var ErrNoSystemd = errors.New("this host is not started by systemd")

// Host is where to install.
type Host struct {
	// Root is the directory that everything is under, "" for this host.
	Root string
	// Run runs systemctl.
	Run tool.Runner
	// Booted says that systemd runs this host, sd_booted(3). With a Root it must be false.
	Booted bool
}

// Booted says whether systemd runs this host (sd_booted(3)).
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Options say what to enable.
type Options struct {
	// Heal says whether to enable the timer; nil leaves it as it is, and on a host
	// that has none it stays off.
	Heal *bool
}

// Install places and enables, and says what it did: nothing if all was done. The
// error is ErrNoSystemd if nothing was enabled, and the script is in its place.
//
// Where systemd runs the service is started too, and loads what is saved. Left
// inactive it would be started along with any other unit that requires
// sysinit.target, at a time that nobody chose.
func (h *Host) Install(ctx context.Context, o Options) ([]string, error) {
	j := &job{Host: h}
	if err := j.place(dist.LoadPath, dist.Load, 0o755); err != nil {
		return j.did, err
	}
	if !h.hasSystemd() {
		return j.did, ErrNoSystemd
	}
	units, err := unitTexts()
	if err != nil {
		return j.did, err
	}
	for _, u := range units {
		if h.packaged(u.name) {
			continue
		}
		if err := j.place(unitDir+"/"+u.name, u.text, 0o644); err != nil {
			return j.did, err
		}
	}
	if err := j.placeDropIns(); err != nil {
		return j.did, err
	}
	if h.Booted && len(j.did) > 0 {
		if err := j.systemctl(ctx, "daemon-reload"); err != nil {
			return j.did, err
		}
	}
	err = j.enable(ctx, Service)
	if err == nil && h.Booted {
		err = j.start(ctx, Service)
	}
	for _, name := range []string{refill, RefillTimer} {
		if err == nil {
			err = j.enable(ctx, name)
		}
	}
	if err == nil && o.Heal != nil {
		if *o.Heal {
			err = j.enable(ctx, Timer)
		} else {
			err = j.disable(ctx, Timer)
		}
	}
	return j.did, err
}

// Uninstall disables and takes out what Install placed; what a package placed
// stays. Rules that are loaded, and those that are saved, stay as they are.
func (h *Host) Uninstall(ctx context.Context) ([]string, error) {
	j := &job{Host: h}
	var errs []error
	for _, name := range []string{RefillTimer, refill, Timer, Service} {
		errs = append(errs, j.disable(ctx, name))
	}
	units, err := unitTexts()
	if err != nil {
		return j.did, err
	}
	removed, packaged := false, false
	for _, u := range units {
		gone, err := j.remove(unitDir + "/" + u.name)
		removed = removed || gone
		packaged = packaged || h.packaged(u.name)
		errs = append(errs, err)
	}
	dropIns, err := dropIns()
	errs = append(errs, err)
	for _, name := range dropIns {
		gone, err := j.remove(name)
		removed = removed || gone
		errs = append(errs, err)
		os.Remove(filepath.Dir(j.path(name))) // if it is empty
	}
	if !packaged {
		_, err := j.remove(dist.LoadPath)
		errs = append(errs, err)
		os.Remove(filepath.Dir(h.path(dist.LoadPath))) // if it is empty
	}
	if h.Booted && removed {
		errs = append(errs, j.systemctl(ctx, "daemon-reload"))
	}
	return j.did, errors.Join(errs...)
}

// Healing says whether the timer is enabled.
func (h *Host) Healing() bool { return h.enabled(Timer) }

// Refilling says whether the pools of users are refilled in time, or the host is
// started by something that this package does not know.
func (h *Host) Refilling() bool { return !h.hasSystemd() || h.enabled(RefillTimer) }

// unit is one file under dist/systemd.
type unit struct {
	name string
	text []byte
}

func unitTexts() ([]unit, error) {
	var all []unit
	for _, name := range []string{Service, heal, Timer, refill, RefillTimer} {
		text, err := dist.Units.ReadFile("systemd/" + name)
		if err != nil {
			return nil, fmt.Errorf("read the unit %s: %w", name, err)
		}
		all = append(all, unit{name, text})
	}
	return all, nil
}

// wantedBy lists what starts a unit, as its [Install] says.
func wantedBy(name string) ([]string, error) {
	return setting(name, "WantedBy")
}

// setting gives the words that a unit has for a key.
func setting(name, key string) ([]string, error) {
	text, err := dist.Units.ReadFile("systemd/" + name)
	if err != nil {
		return nil, fmt.Errorf("read the unit %s: %w", name, err)
	}
	for line := range strings.Lines(string(text)) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return strings.Fields(list), nil
		}
	}
	return nil, fmt.Errorf("the unit %s has no %s", name, key)
}

// dropIns are for the firewalls that flush the rules of others, which the
// service follows when they are reloaded.
func dropIns() ([]string, error) {
	names, err := setting(Service, "ReloadPropagatedFrom")
	for i, n := range names {
		names[i] = unitDir + "/" + n + ".d/tirl.conf"
	}
	return names, err
}

func (j *job) placeDropIns() error {
	text, err := dist.Units.ReadFile("systemd/firewall.conf")
	if err != nil {
		return fmt.Errorf("read the drop-in: %w", err)
	}
	names, err := dropIns()
	for _, name := range names {
		err = errors.Join(err, j.place(name, text, 0o644))
	}
	return err
}

// job collects what was done.
type job struct {
	*Host
	did []string
}

func (j *job) note(format string, args ...any) { j.did = append(j.did, fmt.Sprintf(format, args...)) }

func (h *Host) path(name string) string { return filepath.Join(h.Root, name) }

func (h *Host) exists(name string) bool {
	_, err := os.Lstat(h.path(name))
	return err == nil
}

// hasSystemd says whether systemd starts this host, or would start the host
// whose files are under Root.
func (h *Host) hasSystemd() bool {
	if h.Booted {
		return true
	}
	if h.Root == "" && h.exists("/run/openrc") {
		return false
	}
	return h.exists("/usr/lib/systemd/systemd") || h.exists("/lib/systemd/systemd")
}

// packaged says whether a package brought the unit.
func (h *Host) packaged(name string) bool {
	return h.exists(packageDir+"/"+name) || h.exists(packageDir2+"/"+name)
}

// place writes a file if it is not there as it should be.
func (j *job) place(name string, text []byte, mode fs.FileMode) error {
	path := j.path(name)
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm() == mode {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
			return nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("place %s: %w", name, err)
	}
	f, err := atomicfile.Create(path, mode)
	if err == nil {
		err = f.Commit(text)
	}
	if err != nil {
		return fmt.Errorf("place %s: %w", name, err)
	}
	j.note("placed %s", path)
	return nil
}

func (j *job) remove(name string) (bool, error) {
	err := os.Remove(j.path(name))
	switch {
	case err == nil:
		j.note("removed %s", j.path(name))
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, fmt.Errorf("remove %s: %w", name, err)
}

// links are the symbolic links that enable a unit.
func (h *Host) links(name string) ([]string, error) {
	targets, err := wantedBy(name)
	for i, t := range targets {
		targets[i] = unitDir + "/" + t + ".wants/" + name
	}
	return targets, err
}

func (h *Host) enabled(name string) bool {
	links, err := h.links(name)
	return err == nil && !slices.ContainsFunc(links, func(l string) bool { return !h.exists(l) })
}

// enable has systemctl do it where systemd runs, and makes its links elsewhere.
func (j *job) enable(ctx context.Context, name string) error {
	if j.enabled(name) {
		return nil
	}
	if j.Booted {
		args := []string{"enable", name}
		if strings.HasSuffix(name, ".timer") {
			args = []string{"enable", "--now", name}
		}
		if err := j.systemctl(ctx, args...); err != nil {
			return err
		}
		j.note("enabled %s", name)
		return nil
	}
	links, err := j.links(name)
	if err != nil {
		return err
	}
	for _, link := range links {
		if j.exists(link) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(j.path(link)), 0o755); err != nil {
			return fmt.Errorf("enable %s: %w", name, err)
		}
		if err := os.Symlink(j.home(name), j.path(link)); err != nil {
			return fmt.Errorf("enable %s: %w", name, err)
		}
	}
	j.note("enabled %s", name)
	return nil
}

// home is where the unit is, as seen from the host itself.
func (h *Host) home(name string) string {
	switch {
	case h.exists(unitDir + "/" + name):
		return unitDir + "/" + name
	case h.exists(packageDir + "/" + name):
		return packageDir + "/" + name
	}
	return packageDir2 + "/" + name
}

func (j *job) disable(ctx context.Context, name string) error {
	if j.Booted && (j.exists(unitDir+"/"+name) || j.packaged(name)) {
		was := j.enabled(name)
		if err := j.systemctl(ctx, "disable", "--now", name); err != nil {
			return err
		}
		if was {
			j.note("disabled %s", name)
		}
		return nil
	}
	links, err := j.links(name)
	if err != nil {
		return err
	}
	was := false
	for _, link := range links {
		err := os.Remove(j.path(link))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("disable %s: %w", name, err)
		}
		was = was || err == nil
		os.Remove(filepath.Dir(j.path(link))) // if it is empty
	}
	if was {
		j.note("disabled %s", name)
	}
	return nil
}

func (j *job) start(ctx context.Context, name string) error {
	if err := j.systemctl(ctx, "is-active", name); err == nil {
		return nil
	}
	if err := j.systemctl(ctx, "start", name); err != nil {
		return err
	}
	j.note("started %s", name)
	return nil
}

func (j *job) systemctl(ctx context.Context, args ...string) error {
	_, err := j.Run.Run(ctx, "", "systemctl", append([]string{"--quiet"}, args...)...)
	return err
}
