package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tirl/internal/knock"
	"tirl/internal/policy"
	"tirl/internal/term"
)

func hostsFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "hosts", "", "hosts `file` (default $TIRL_HOSTS or ~/.config/tirl/hosts.toml)")
}

// hostsPath says which file has the hosts, given the value of --hosts. Empty: no
// file was named, and this user has no place for one.
func (a *app) hostsPath(flag string) string {
	switch {
	case flag != "":
		return flag
	case a.getenv("TIRL_HOSTS") != "":
		return a.getenv("TIRL_HOSTS")
	}
	if dir := a.configDir(); dir != "" {
		return filepath.Join(dir, "tirl", "hosts.toml")
	}
	return ""
}

// configDir is where programs of the terminal keep what people write: on macOS
// too that is ~/.config, and not the Library that os.UserConfigDir names.
func (a *app) configDir() string {
	switch {
	case filepath.IsAbs(a.getenv("XDG_CONFIG_HOME")):
		return a.getenv("XDG_CONFIG_HOME")
	case runtime.GOOS == "windows":
		return a.getenv("AppData")
	case a.getenv("HOME") != "":
		return filepath.Join(a.getenv("HOME"), ".config")
	}
	return ""
}

// hosts reads the hosts file. If it was not named, it need not be there.
func (a *app) hosts(flag string) (policy.Hosts, error) {
	file := a.hostsPath(flag)
	if file == "" {
		return nil, nil
	}
	text, err := a.readFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && flag == "":
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the hosts: %w", err)
	}
	hosts, found := policy.ParseHosts(displayName(file), text)
	if found.HasErrors() {
		return nil, a.refuse("the hosts file", file, found)
	}
	if err := found.Write(a.err, diagnosticStyle(term.StyleOf(a.err, a.colour, a.getenv))); err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); err == nil && runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		if hosts.HasSecrets() {
			return nil, fail(exitFailed, fmt.Errorf("others on this machine can read the secrets in %s (mode %04o)", file, info.Mode().Perm()), "chmod 600 "+file)
		}
		a.warn("others on this machine can read the knocks in %s (mode %04o)", file, info.Mode().Perm())
		a.hint("chmod 600 %s", file)
	}
	return hosts, nil
}

// remote finds a host in the hosts file. One that is not there is where its name
// says, and has no doors.
func (a *app) remote(flag, name string) (policy.Remote, error) {
	hosts, err := a.hosts(flag)
	if err != nil {
		return policy.Remote{}, err
	}
	if r, ok := hosts.Find(name); ok {
		return r, nil
	}
	return policy.Remote{Name: name, Lookups: []string{name}}, nil
}

// addresses are all of a host's, of one family if one is asked for. No resolver
// hears of a host whose entry does not want that.
func (a *app) addresses(ctx context.Context, r policy.Remote, opts knock.Options) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, addr := range r.Addresses {
		if opts.Network.Has(addr) {
			addrs = append(addrs, addr)
		}
	}
	for _, name := range r.Lookups {
		more, err := knock.Resolve(ctx, name, opts)
		switch {
		case err != nil && len(r.Addresses)+len(r.Lookups) == 1:
			return nil, err
		case err != nil:
			a.warn("%v", err)
		}
		for _, addr := range more {
			if !slices.Contains(addrs, addr) {
				addrs = append(addrs, addr)
			}
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s has no unicast %s address", r.Name, opts.Network)
	}
	return addrs, nil
}

// doorsOf are the doors that a command may name at a host, and whose they are:
// those of the policy if one is given, else of the host's entry, else of the
// policy of this machine.
func (a *app) doorsOf(r policy.Remote, file, hosts string) (doors []policy.Door, whose string, err error) {
	if file == "" && len(r.Doors) > 0 {
		return r.Doors, "host " + r.Name, nil
	}
	d, err := a.sound(file)
	if err != nil {
		if file == "" && a.getenv("TIRL_POLICY") == "" && errors.Is(err, fs.ErrNotExist) {
			return nil, "", fail(exitFailed, fmt.Errorf("%s has no host %q with doors", a.hostsName(hosts), r.Name),
				"on that host: sudo tirl export prints what to put there")
		}
		return nil, "", err
	}
	return d.policy.Doors, "the policy", nil
}

// hostsName is the hosts file in a message.
func (a *app) hostsName(flag string) string {
	if file := a.hostsPath(flag); file != "" {
		return file
	}
	return "hosts.toml"
}

// isDoor tells the name of a door from a port.
func isDoor(arg string) bool { return !strings.Contains(arg, "/") }

// doorNames lists doors, the first ten of them.
func doorNames(doors []policy.Door) string {
	var names []string
	for _, d := range doors {
		if len(names) == 10 {
			names = append(names, "...")
			break
		}
		names = append(names, d.Name)
	}
	return strings.Join(names, ", ")
}

// completeHosts gives the hosts of the hosts file to a shell, silently.
func (a *app) completeHosts(flag string) []cobra.Completion {
	var names []cobra.Completion
	for _, h := range a.knownHosts(flag) {
		names = append(names, cobra.CompletionWithDesc(h.Name, doorNames(h.Doors)))
	}
	return names
}

func (a *app) knownHosts(flag string) policy.Hosts {
	file := a.hostsPath(flag)
	if file == "" || file == stdinName {
		return nil
	}
	text, err := a.readFile(file)
	if err != nil {
		return nil
	}
	hosts, _ := policy.ParseHosts(file, text)
	return hosts
}

// doorCompletions gives doors to a shell.
func doorCompletions(doors []policy.Door) []cobra.Completion {
	var names []cobra.Completion
	for _, door := range doors {
		names = append(names, cobra.CompletionWithDesc(door.Name, "opens "+ranges(door.Opens)))
	}
	return names
}
